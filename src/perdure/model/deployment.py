"""Where services run: a deployment is one address with the services that were found there when it was registered.

The app of the node's own process is not one of these rows: it is known from the start and needs no address.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from perdure.model.service import Policies, ServiceSpec

HttpVersion: TypeAlias = Literal["HTTP/2.0", "HTTP/1.1"]
CLUSTER_NAME = "localcluster"
"""What a deployment is told of who asks, as a Restate server without another name tells it."""
CLUSTER_NAME_HEADER = "x-restate-cluster-name"


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A remote deployment, as registered. It never changes but for `additional_headers` and `modified`; another address
    is another deployment. Registering the same address by force writes the row anew under its id.
    """

    id: str
    """`dp_1…` (docs/formats.md)."""
    uri: str
    """Normalised: scheme, host, port, and a path that ends with `/`; then the query, if it has one."""
    http_version: HttpVersion = "HTTP/2.0"
    bidirectional: bool = True
    """The request stays open and notifications are streamed; otherwise request and response, one after the other."""
    min_protocol_version: int = 5
    max_protocol_version: int = 6
    created_at_ms: int = 0
    sdk_version: str | None = None
    additional_headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    services: list[ServiceSpec] = []
    """As discovered: the policies are what the manifest chose."""
    revisions: dict[str, int] = {}
    """Revision of each service: one more than the latest before it, over all deployments."""
    modified: dict[str, Policies] = {}
    """Per service, what an operator has set since; it wins over what was discovered."""


class Pin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An invocation stays with the deployment and the protocol version that stored its first entry."""

    deployment: str
    protocol_version: int
