"""`discover`: asks a deployment what it serves, over the transport by which it is invoked later.

What always holds: the version of HTTP that answered is the one that the deployment is invoked with, because what a
deployment can do (stream in both directions or not) depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from perdure.invoker.remote.errors import ConnectionBroken, NotTheProtocol, TransportFailed, Unreachable
from perdure.invoker.remote.exchange import Response
from perdure.invoker.remote.transport import Transport
from perdure.model.deployment import CLUSTER_NAME, CLUSTER_NAME_HEADER, HttpVersion
from perdure.model.service import ServiceSpec
from perdure.node.errors import NodeError
from perdure.wire.discovery import MEDIA_TYPES, ProtocolMode, read_manifest

RETRIED_STATUSES = frozenset((408, 429, 500, 502, 503, 504))
PAUSES_S = (0.1, 0.2, 0.4, 0.8)
"""Between one try and the next: a deployment that is just starting is found, a person who waits gets an answer."""
TRY_S = 10.0
"""For one try, and after which no other begins."""
SHOWN_CHARS = 500
"""Of a body that is no manifest, how much an error shows."""


class DiscoveryError(NodeError):
    status: ClassVar[int] = 500


class NotDiscovered(DiscoveryError):
    """The deployment cannot be reached, or refuses to say what it serves."""

    code = "META0003"


class SpeaksHttp1(DiscoveryError):
    """HTTP/2 was spoken and something else came back."""

    code = "META0014"


class CannotStream(DiscoveryError):
    """The deployment wants both directions open at once, over a transport that cannot do that."""

    code = "META0015"


@dataclass(frozen=True, kw_only=True)
class Discovered:
    services: list[ServiceSpec]
    protocol_mode: ProtocolMode
    min_protocol_version: int
    max_protocol_version: int
    http_version: HttpVersion
    sdk_version: str | None
    """Like `restate-sdk-python/1.3.0`, if it says so."""

    @property
    def bidirectional(self) -> bool:
        return self.protocol_mode == "BIDI_STREAM"


async def discover(
    transport: Transport, uri: str, *, additional_headers: Mapping[str, str], use_http_11: bool = False
) -> Discovered:
    """`GET {uri}discover`, tried again for what may pass.

    Errors: NotDiscovered (META0003), SpeaksHttp1 (META0014), CannotStream (META0015); BadManifest (META0013),
            NoCommonVersion (META0012), ReservedName (META0005) of `wire.discovery`.
    """
    response = await _ask(transport, uri, additional_headers, "HTTP/1.1" if use_http_11 else None)
    manifest = read_manifest(response.headers.get("content-type", ""), response.body)
    if manifest.protocol_mode == "BIDI_STREAM" and response.http_version not in ("HTTP/2.0", "HTTP/1.1"):
        raise CannotStream(
            f"the deployment wants to stream in both directions, which {response.http_version} cannot.",
            "Serve it with HTTP/2, or with HTTP/1.1 and request and response one after the other.",
        )
    return Discovered(
        services=manifest.services,
        protocol_mode=manifest.protocol_mode,
        min_protocol_version=manifest.min_protocol_version,
        max_protocol_version=manifest.max_protocol_version,
        http_version="HTTP/2.0" if response.http_version == "HTTP/2.0" else "HTTP/1.1",
        sdk_version=response.headers.get("x-restate-server"),
    )


async def _ask(
    transport: Transport, uri: str, additional_headers: Mapping[str, str], http_version: HttpVersion | None
) -> Response:
    headers = {"accept": ", ".join(MEDIA_TYPES), CLUSTER_NAME_HEADER: CLUSTER_NAME, **additional_headers}
    loop = asyncio.get_running_loop()
    began = loop.time()
    for pause_s in (*PAUSES_S, None):
        try:
            response = await transport.request(
                uri, "GET", "discover", headers, http_version=http_version, timeout_s=TRY_S
            )
        except (Unreachable, ConnectionBroken) as broken:
            if pause_s is None or loop.time() - began > TRY_S:
                raise _not_answered(uri, broken) from broken
        except NotTheProtocol as other:
            if http_version == "HTTP/1.1":
                raise NotDiscovered(other.what, other.next_step) from other
            raise SpeaksHttp1(
                f"discovery at {uri} got no answer in HTTP/2; the deployment may speak only HTTP/1.1.",
                "Register it with `use_http_11` (`--use-http1.1`), or serve it with HTTP/2.",
            ) from other
        except TransportFailed as failed:
            raise _not_answered(uri, failed) from failed
        else:
            if response.status == 200:
                return response
            if pause_s is None or response.status not in RETRIED_STATUSES or loop.time() - began > TRY_S:
                raise _refused(uri, response)
        await asyncio.sleep(pause_s or 0)
    raise AssertionError("the last try returns or raises")


def _not_answered(uri: str, failed: TransportFailed) -> NotDiscovered:
    return NotDiscovered(f"error when calling '{uri}': {failed.what}", failed.next_step)


def _refused(uri: str, response: Response) -> NotDiscovered:
    body = response.body.decode("utf-8", "replace")[:SHOWN_CHARS].strip()
    answer = f"error when calling '{uri}': got status code '{response.status}'{f': {body}' if body else ''}."
    if response.status == 404:
        return NotDiscovered(answer, "Give the path at which the SDK's endpoint is mounted.")
    return NotDiscovered(answer, "See the deployment's own log for why it refuses.")
