"""Routes of what other servers have and this one has not: Kafka, rules for concurrency, virtual queues.

Lists are empty, single things are not found, and what would make one is refused with the reason, in the shapes that
Restate's command line prints. Nothing is taken that would have no effect.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perdure.http.admin.replies import AdminRefused, decoded_body, id_in_path, json_reply
from perdure.model.deployment import CLUSTER_NAME
from perdure.node.engine import Engine
from perdure.node.errors import HandlerNotFound, ServiceNotFound

_NO_KAFKA = "this server reads no Kafka topics"


class Subscription(msgspec.Struct):
    id: str
    source: str
    sink: str
    options: dict[str, str]


class ListSubscriptionsResponse(msgspec.Struct):
    subscriptions: list[Subscription]


class CreateSubscriptionRequest(msgspec.Struct, kw_only=True):
    source: str
    sink: str
    options: dict[str, str] | None = None


class KafkaCluster(msgspec.Struct):
    name: str
    properties: dict[str, str]


class ListKafkaClustersResponse(msgspec.Struct):
    clusters: list[KafkaCluster]


class CreateKafkaClusterRequest(msgspec.Struct):
    name: str
    properties: dict[str, str]


class PatchKafkaClusterRequest(msgspec.Struct):
    properties: dict[str, str]


class Limits(msgspec.Struct, omit_defaults=True):
    concurrency: int | None = None


class UpsertRule(msgspec.Struct, kw_only=True):
    pattern: str
    limits: Limits
    description: str | None = None
    disabled: bool = False
    precondition: dict[str, object] | None = None


class Rule(msgspec.Struct):
    pattern: str
    limits: Limits
    disabled: bool
    version: int
    last_modified_millis_since_epoch: int


class DeleteRule(msgspec.Struct, kw_only=True):
    pattern: str
    expected_version: int | None = None


class ClusterHealth(msgspec.Struct):
    cluster_name: str
    metadata_cluster_health: dict[str, list[int]]


class ElsewhereRoutes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- Kafka ------------------------------------------------------------------------------------------------------------

    async def subscriptions(self, _: Request) -> Response:
        return json_reply(ListSubscriptionsResponse([]))

    async def subscribe(self, request: Request) -> Response:
        asked = await decoded_body(request, CreateSubscriptionRequest)
        cluster = _kafka_source(asked.source)
        self._check_sink(asked.sink)
        raise AdminRefused(400, f"Kafka cluster '{cluster}' not found. Available clusters: []; {_NO_KAFKA}")

    async def subscription(self, request: Request) -> Response:
        wanted = id_in_path(request, "subscription", "sub")
        raise AdminRefused(404, f"The requested subscription '{wanted}' does not exist")

    async def kafka_clusters(self, _: Request) -> Response:
        return json_reply(ListKafkaClustersResponse([]))

    async def add_kafka_cluster(self, request: Request) -> Response:
        await decoded_body(request, CreateKafkaClusterRequest)
        raise AdminRefused(400, f"{_NO_KAFKA}: no Kafka cluster can be added")

    async def kafka_cluster(self, request: Request) -> Response:
        raise AdminRefused(404, f"The requested Kafka cluster '{request.path_params['name']}' does not exist")

    async def remove_kafka_cluster(self, request: Request) -> Response:
        name = request.path_params["name"]
        raise AdminRefused(404, f"not found in the schema registry: kafka cluster named '{name}'")

    async def change_kafka_cluster(self, request: Request) -> Response:
        await decoded_body(request, PatchKafkaClusterRequest)
        name = request.path_params["name"]
        raise AdminRefused(404, f"not found in the schema registry: kafka cluster '{name}'")

    def _check_sink(self, sink: str) -> None:
        parts = urlsplit(sink)
        handler = parts.path.strip("/")
        if parts.scheme != "service" or not parts.netloc or not handler:
            raise _bad_subscription(f"invalid sink URI '{sink}': write service://SERVICE/HANDLER.")
        try:
            self._engine.registry.resolve(parts.netloc, handler)
        except (ServiceNotFound, HandlerNotFound):
            why = "cannot find service/handler specified in the sink URI."
            raise _bad_subscription(f"invalid sink URI '{sink}': {why}") from None

    # --- concurrency ------------------------------------------------------------------------------------------------------

    async def set_rules(self, request: Request) -> Response:
        if rules := await decoded_body(request, list[UpsertRule]):
            raise AdminRefused(
                400, f"this server has no rules for concurrency: '{rules[0].pattern}' would have no effect"
            )
        return json_reply([])

    async def delete_rules(self, request: Request) -> Response:
        """None of them is there."""
        await decoded_body(request, list[DeleteRule])
        return json_reply([])

    async def vqueue(self, request: Request) -> Response:
        """There are none, so that no id is one."""
        raise AdminRefused(400, "The request field 'vqueue_id' is invalid. Reason: bad format")

    # --- the cluster ------------------------------------------------------------------------------------------------------

    async def cluster_health(self, _: Request) -> Response:
        return json_reply(ClusterHealth(CLUSTER_NAME, {"members": [1]}))


def _kafka_source(source: str) -> str:
    """The cluster that it names. Errors: AdminRefused."""
    parts = urlsplit(source)
    if not parts.scheme:
        raise _bad_subscription(
            f"invalid source URI '{source}': must have a scheme segment, with supported schemes: [kafka]."
        )
    if parts.scheme != "kafka" or not parts.netloc or not parts.path.strip("/"):
        raise _bad_subscription(f"invalid source URI '{source}': write kafka://CLUSTER/TOPIC.")
    return parts.netloc


def _bad_subscription(why: str) -> AdminRefused:
    return AdminRefused(400, f"[META0009] {why}", restate_code="META0009")
