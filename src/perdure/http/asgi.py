"""The ASGI types that HTTP speaks, one reply sent whole, and waiting no longer than a client does.

ASGI itself is untyped dictionaries; the names here say what is meant. Nothing here knows of routes or of an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
T = TypeVar("T")

URL_BYTES_MAX = 65_535
"""Path and query: what the parser of HTTP/1.1 can count, and so in HTTP/2."""


class Answer(Protocol):
    """What `direct` is given to answer with, once, now or later. It never raises."""

    def __call__(self, status: int, headers: RawHeaders, body: bytes) -> None: ...


class Direct(Protocol):
    """`url` is the request's target as it was sent; headers have lower-case names. False: not taken, `answer` is unused."""

    def __call__(self, url: bytes, headers: RawHeaders, body: bytes, answer: Answer) -> bool: ...


STOPPING_MESSAGE = "the server is stopping; the invocation goes on when it is back"
"""For who still waits when the grace of a stop is over."""


class ClientGone(Exception):
    """The client closed the connection: nobody waits for the reply."""


async def send_reply(send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def server_refusal(status: int, message: str, *more: tuple[bytes, bytes]) -> tuple[int, RawHeaders, bytes]:
    """What a request is told that never reaches an application, in the words of docs/ingress.md."""
    body = msgspec.json.encode({"code": status, "message": message, "source": "ingress"})
    return status, [(b"content-type", b"application/json"), (b"x-restate-error-source", b"ingress"), *more], body


async def while_connected(waiting: Awaitable[T], receive: Receive) -> T:
    """Wait for something that may take weeks, but no longer than the client does. Errors: ClientGone."""
    work = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGone
        return work.result()
    finally:
        for task in (work, gone):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def find_header(headers: RawHeaders, wanted: bytes) -> bytes | None:
    """The first header of this (lower-case) name."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def raw_path(scope: Scope) -> str:
    """The path below the mount point, still percent-encoded."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        from urllib.parse import quote

        path = quote(scope["path"])
    else:
        # Some servers hand over the query string with it.
        path = raw.partition(b"?")[0].decode("latin-1") if b"?" in raw else raw.decode("latin-1")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
