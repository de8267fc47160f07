"""A deployment on AWS Lambda: an ASGI application behind a function that is called with an event and gives an answer.

A Restate server calls such a function once for each attempt, with the journal so far, and takes what the attempt added. So an
attempt suspends at each await, and nothing of it runs between two calls.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
COMPRESS_FROM_BYTES = 3 * 1024 * 1024
"""Of an answer: a Lambda function may answer with 6 MB, in base64."""


class LambdaFunction:
    """Calls an ASGI application with one event at a time, on a loop of its own that stands still between them."""

    def __init__(self, application: AsgiApp) -> None:
        self._application = application
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, event: MutableMapping[str, Any], context: object) -> dict[str, Any]:
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(self._answer(event))

    async def _answer(self, event: MutableMapping[str, Any]) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        body = event.get("body") or ""
        data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        if "zstd" in headers.get("content-encoding", ""):
            data = zstd().decompress(data)
        said = _Answer()
        await self._application(_scope(event, headers), _Request(data).receive, said.send)
        if len(said.body) > COMPRESS_FROM_BYTES and "zstd" in headers.get("accept-encoding", "") and zstd_available():
            said.body = bytearray(zstd().compress(bytes(said.body)))
            said.headers["content-encoding"] = "zstd"
        return {
            "statusCode": said.status,
            "headers": said.headers,
            "body": base64.b64encode(said.body).decode(),
            "isBase64Encoded": True,
        }


class _Request:
    """The whole body at once; the connection stays until the answer is given."""

    def __init__(self, body: bytes) -> None:
        self._messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive(self) -> Message:
        for message in self._messages:
            return message
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing more comes")


class _Answer:
    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        elif message["type"] == "http.response.body":
            self.body += message.get("body") or b""


def _scope(event: MutableMapping[str, Any], headers: dict[str, str]) -> Message:
    path: str = event["path"]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": event["httpMethod"],
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": None,
        "server": None,
    }


def is_running_on_lambda() -> bool:
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def zstd_available() -> bool:
    """In the standard library from Python 3.14, before that in the package `backports.zstd`."""
    try:
        zstd()
    except ModuleNotFoundError:
        return False
    return True


def zstd() -> Any:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module("compression.zstd")
    return importlib.import_module("backports.zstd")
