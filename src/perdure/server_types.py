"""Types of ASGI and of AWS Lambda, as in `restate.server_types`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias, TypedDict


class ASGIVersions(TypedDict):
    spec_version: str
    version: Literal["2.0", "3.0"]


class Scope(TypedDict):
    type: Literal["http"]
    asgi: ASGIVersions
    http_version: str
    method: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: Iterable[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    extensions: dict[str, dict[object, object]] | None


class RestateEvent(TypedDict):
    type: Literal["restate.run_completed"]
    data: dict[str, Any] | None


class HTTPRequestEvent(TypedDict):
    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HTTPDisconnectEvent(TypedDict):
    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    type: Literal["http.response.start"]
    status: int
    headers: Iterable[tuple[bytes, bytes]]
    trailers: bool


class HTTPResponseBodyEvent(TypedDict):
    type: Literal["http.response.body"]
    body: bytes
    more_body: bool


class RestateLambdaRequest(TypedDict):
    path: str
    httpMethod: str
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


class RestateLambdaResponse(TypedDict):
    statusCode: int
    headers: dict[str, str]
    body: str
    isBase64Encoded: bool


ASGIReceiveEvent: TypeAlias = HTTPRequestEvent | HTTPDisconnectEvent
ASGISendEvent: TypeAlias = HTTPResponseStartEvent | HTTPResponseBodyEvent
Receive: TypeAlias = Callable[[], Awaitable[ASGIReceiveEvent]]
Send: TypeAlias = Callable[[ASGISendEvent], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
RestateLambdaHandler: TypeAlias = Callable[[RestateLambdaRequest, Any], RestateLambdaResponse]
RestateAppT: TypeAlias = Any


def header_to_binary(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def binary_to_header(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in headers]
