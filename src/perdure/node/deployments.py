"""`Deployments`: registers, changes and removes the addresses where services run, and counts what is pinned to them.

What always holds: changes are made one after the other; each is one record, durable and applied on return; what a
deployment serves was asked of it right before; a service of this process's own app is taken over by no deployment.
What a deployment answers, and over which connection it is asked, is the business of discovery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from perdure.model.deployment import Deployment
from perdure.model.ids import format_ulid, ulid
from perdure.model.records import DropDeployment, PutDeployment
from perdure.model.service import Policies, ServiceSpec
from perdure.model.target import ServiceKind
from perdure.node.addresses import normalised, same_place
from perdure.node.discovery import Discovered, discover
from perdure.node.errors import (
    BadRequest,
    ServiceNotFound,
    ServicesDiffer,
    ServiceServedHere,
    ServiceTypeChanged,
)
from perdure.store.codec import decode_invocation
from perdure.store.rows import Status
from perdure.store.snapshot import Snapshot

if TYPE_CHECKING:
    from perdure.node.engine import Engine

Change: TypeAlias = Literal["created", "overwritten", "unchanged"]
_HOME = 0
"""The partition whose tables hold the deployments."""
_OPEN = (Status.SCHEDULED, Status.INBOXED, Status.INVOKED, Status.SUSPENDED, Status.PAUSED)
_LANE = "deployments"


@dataclass(frozen=True)
class Registered:
    """A deployment as it stands, or (dry run) as it would; `notes` say what an operator should know of it."""

    deployment: Deployment
    change: Change
    notes: tuple[str, ...] = ()


class Deployments:
    """Those of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changing = asyncio.Lock()

    async def register(
        self,
        uri: str,
        *,
        additional_headers: Mapping[str, str] | None = None,
        use_http_11: bool = False,
        metadata: Mapping[str, str] | None = None,
        force: bool = False,
        breaking: bool = False,
        dry_run: bool = False,
    ) -> Registered:
        """Ask an address what it serves, and let its services take new invocations.

        An address that is known stays as it is, unless forced: then it is asked again and written anew under its id, with
        new revisions and without what an operator had set. `breaking` allows a service to become one of another type.
        Errors: BadRequest for what is no address; those of discovery; ServiceTypeChanged, ServiceServedHere.
        """
        address = normalised(uri)
        async with self._changing:
            await self._engine.ready()
            known = self._at(address)
            if known is not None and not force:
                return Registered(known, "unchanged")
            headers = _lower(additional_headers or {})
            found = await self._ask(address, headers, use_http_11=use_http_11)
            self._check(found.services, breaking=breaking or force)
            deployment = _described(
                Deployment(
                    id=self._new_id() if known is None else known.id,
                    uri=address,
                    created_at_ms=self._engine.now_ms(),
                    additional_headers=headers,
                    metadata=dict(metadata or {}),
                    revisions={service.name: self._next_revision(service.name) for service in found.services},
                ),
                found,
            )
            if not dry_run:
                await self._put(deployment)
            change: Change = "created" if known is None else "overwritten"
            return Registered(deployment, change, _gone(known, deployment))

    async def update(
        self,
        deployment_id: str,
        *,
        uri: str | None = None,
        additional_headers: Mapping[str, str] | None = None,
        use_http_11: bool | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
    ) -> Deployment:
        """Another address or other headers for a deployment, which keeps its id and its revisions.

        A new address is asked what it serves: that must be what it was, unless it may be overwritten. `use_http_11` is how it
        is asked; without a new address or `overwrite` nobody is asked.
        Errors: DeploymentNotFound; BadRequest; ServicesDiffer; those of discovery.
        """
        async with self._changing:
            await self._engine.ready()
            known = self._engine.registry.deployment(deployment_id)
            headers = known.additional_headers if additional_headers is None else _lower(additional_headers)
            changed = msgspec.structs.replace(known, additional_headers=headers)
            if uri is not None or overwrite:
                changed = await self._moved(changed, uri, use_http_11=use_http_11, overwrite=overwrite)
            if changed != known and not dry_run:
                await self._put(changed)
            return changed

    async def remove(self, deployment_id: str) -> None:
        """Forget it, whatever is pinned to it: that fails with RT0011 and is tried again. Errors: DeploymentNotFound."""
        async with self._changing:
            await self._engine.ready()
            self._engine.registry.deployment(deployment_id)
            await self._engine.applied(DropDeployment(_HOME, self._engine.now_ms(), deployment_id))

    async def modify_service(self, name: str, policies: Policies) -> ServiceSpec:
        """Other policies for the service as its latest revision has it; what is not chosen stays.

        Handlers that choose for themselves keep what they chose, but for `public`.
        Errors: ServiceNotFound; ServiceServedHere; BadRequest for a retention that the service has no use for.
        """
        async with self._changing:
            await self._engine.ready()
            registry = self._engine.registry
            service = registry.service(name)
            deployment = registry.deployment_of(name)
            if deployment is None:
                raise ServiceServedHere(name, "its policies are set in its code")
            if policies.workflow_completion_retention_ms is not None and service.kind is not ServiceKind.WORKFLOW:
                raise BadRequest(f"modifying retention time for service type {TYPE_NAMES[service.kind]} is unsupported")
            if policies != Policies():
                chosen = policies.before(deployment.modified.get(name, Policies()))
                await self._put(msgspec.structs.replace(deployment, modified=deployment.modified | {name: chosen}))
            return registry.service(name)

    # --- what is pinned ---------------------------------------------------------------------------------------------------

    async def in_flight(self) -> dict[str, int]:
        """How many invocations that are not completed are pinned to each deployment, known or not.

        Read from a snapshot on another thread: there may be a million that wait.
        """
        engine = self._engine
        snapshot, _ = await engine.snapshot()
        counting = engine.executor.submit(_LANE, lambda: _pinned(snapshot))
        # Whoever asked may be gone by then: the snapshot is held for as long as it is read.
        counting.add_done_callback(lambda _: engine.loop.call_soon_threadsafe(snapshot.close))
        return await asyncio.wrap_future(counting)

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _ask(self, address: str, headers: Mapping[str, str], *, use_http_11: bool) -> Discovered:
        return await discover(self._engine.transport, address, additional_headers=headers, use_http_11=use_http_11)

    async def _put(self, deployment: Deployment) -> None:
        await self._engine.applied(PutDeployment(_HOME, self._engine.now_ms(), deployment))

    async def _moved(
        self, known: Deployment, uri: str | None, *, use_http_11: bool | None, overwrite: bool
    ) -> Deployment:
        address = known.uri if uri is None else normalised(uri)
        http_11 = known.http_version == "HTTP/1.1" if use_http_11 is None else use_http_11
        found = await self._ask(address, known.additional_headers, use_http_11=http_11)
        if not overwrite:
            _check_the_same(known, found)
        self._check(found.services, breaking=overwrite)
        revisions = {
            service.name: known.revisions.get(service.name) or self._next_revision(service.name)
            for service in found.services
        }
        return _described(msgspec.structs.replace(known, uri=address, revisions=revisions), found)

    def _check(self, services: list[ServiceSpec], *, breaking: bool) -> None:
        registry = self._engine.registry
        for service in services:
            _check_reachable(service)
            if registry.is_local(service.name):
                raise ServiceServedHere(service.name, "stop serving it there before another deployment takes it over")
            try:
                before = registry.service(service.name)
            except ServiceNotFound:
                continue
            if before.kind is not service.kind and not breaking:
                raise ServiceTypeChanged(service.name, TYPE_NAMES[before.kind], TYPE_NAMES[service.kind])

    def _at(self, address: str) -> Deployment | None:
        """The one registered last, where others were moved there."""
        there = [each for each in self._engine.registry.deployments() if same_place(each.uri, address)]
        return there[-1] if there else None

    def _next_revision(self, service: str) -> int:
        return 1 + max((each.revisions.get(service, 0) for each in self._engine.registry.deployments()), default=0)

    def _new_id(self) -> str:
        return format_ulid("dp", ulid(self._engine.now_ms(), self._engine.random.bytes(10)))


TYPE_NAMES: Mapping[ServiceKind, str] = {
    ServiceKind.SERVICE: "Service",
    ServiceKind.VIRTUAL_OBJECT: "VirtualObject",
    ServiceKind.WORKFLOW: "Workflow",
}


def _check_reachable(service: ServiceSpec) -> None:
    """Errors: BadRequest for a handler that is public by name in a service that is private."""
    for handler in service.handlers.values():
        if not service.public and handler.chosen.public:
            raise BadRequest(
                f"The service {service.name} is private, but the {handler.name} is explicitly set as public. "
                "This is not supported. Please make the service public, and hide the individual handlers."
            )


def _pinned(snapshot: Snapshot) -> dict[str, int]:
    counts: dict[str, int] = {}
    for chunk in snapshot.invocations(_OPEN):
        for partition, seq, blob, crc in chunk:
            row = decode_invocation(blob, crc, (partition, seq))
            if row.protocol_version is not None:
                pinned = row.deployment or ""
                counts[pinned] = counts.get(pinned, 0) + 1
    return counts


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _described(deployment: Deployment, found: Discovered) -> Deployment:
    return msgspec.structs.replace(
        deployment,
        http_version=found.http_version,
        bidirectional=found.bidirectional,
        min_protocol_version=found.min_protocol_version,
        max_protocol_version=found.max_protocol_version,
        sdk_version=found.sdk_version,
        services=found.services,
    )


def _gone(before: Deployment | None, now: Deployment) -> tuple[str, ...]:
    gone = sorted(set(before.revisions) - set(now.revisions)) if before is not None else []
    return tuple(f"The deployment no longer serves '{name}', which it did before it was overwritten." for name in gone)


def _check_the_same(known: Deployment, found: Discovered) -> None:
    """Errors: ServicesDiffer."""
    before, now = _shape(known.services), _shape(found.services)
    if before != now:
        changed = ", ".join(sorted({name for name, *_ in before ^ now}))
        raise ServicesDiffer(f"the services or handlers there are not the ones of the deployment: {changed}")
    if (
        found.min_protocol_version > known.min_protocol_version
        or found.max_protocol_version < known.max_protocol_version
    ):
        raise ServicesDiffer(
            f"it speaks versions {found.min_protocol_version} to {found.max_protocol_version} of the service protocol, "
            f"not {known.min_protocol_version} to {known.max_protocol_version}"
        )


def _shape(services: list[ServiceSpec]) -> set[tuple[str, ...]]:
    return {
        (service.name, service.kind.name, handler.name, handler.kind.name)
        for service in services
        for handler in service.handlers.values()
    }
