"""`Exchange`: one request and its answer over HTTP, within the client's timeout, and again while the server is away.

What always holds: a request is sent again only when whoever makes it says that this does no harm. Results of handlers and
refusals of the server are told apart by the header that says so. What is asked, and where, is not its business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from perdure.client.connection import Response
from perdure.client.errors import CallFailed, CallTimeout, ConnectionLost, Refused, Unreachable
from perdure.client.pool import Pool

T = TypeVar("T")

_UNAVAILABLE = 503
_PAUSE_S_FIRST = 0.05
_PAUSE_S_MAX = 1.0


class _Error(msgspec.Struct):
    message: str = ""
    code: int | None = None
    metadata: dict[str, str] | None = None


class Exchange:
    """Units: `timeout_s` bounds each request as a whole (None: an answer may take weeks); `recover_s` is how long a request
    goes on trying to reach the server again after it lost the connection (0: it fails at once)."""

    def __init__(
        self,
        pool: Pool,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
        recover_s: float = 0.0,
    ) -> None:
        self._pool = pool
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.recover_s = recover_s
        self._timeout_s = timeout_s

    async def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Once, whatever the answer. Errors: Unreachable, ConnectionLost."""
        return await self._pool.request(method, path, {**self.headers, **(headers or {})}, body)

    async def answered(self, once: Callable[[], Awaitable[T]], *, repeatable: bool, key: str | None = None) -> T:
        """The answer to a request, within the timeout. Errors: those of `once`; CallTimeout, which knows the `key`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await (self._until_answered(once) if repeatable and self.recover_s > 0 else once())
        except ConnectionLost as error:
            error.idempotency_key = key
            raise
        except TimeoutError as error:
            next_step = f"Its idempotency key is {key!r}." if key is not None else ""
            raise CallTimeout(
                f"no answer from {self._pool.address} within {self._timeout_s:g} s; what was accepted goes on.",
                next_step,
                key,
            ) from error

    async def close(self) -> None:
        await self._pool.close()

    async def _until_answered(self, once: Callable[[], Awaitable[T]]) -> T:
        """Try again while the server is away, for `recover_s` from when that was noticed."""
        loop = asyncio.get_running_loop()
        lost: ConnectionLost | Refused | None = None
        lost_at, pause_s = 0.0, _PAUSE_S_FIRST
        while True:
            try:
                return await once()
            except (ConnectionLost, Refused) as error:
                if not went_away(error):
                    raise
                if lost is None or isinstance(error, ConnectionLost):  # the latter: it had been back in between
                    lost, lost_at, pause_s = error, loop.time(), _PAUSE_S_FIRST
            except Unreachable:
                if lost is None:
                    raise  # nothing was sent, and nothing has ever answered: most likely a wrong address
            if loop.time() - lost_at >= self.recover_s:
                raise lost
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)


def went_away(error: ConnectionLost | Refused) -> bool:
    """The request may have been accepted, or was not for the moment."""
    return isinstance(error, ConnectionLost) or error.status_code == _UNAVAILABLE


def result(response: Response) -> bytes:
    """Errors: CallFailed, Refused."""
    if response.status < 400:
        return response.body
    text = response.body.decode("utf-8", "replace")
    try:
        error = msgspec.json.decode(response.body, type=_Error)
    except msgspec.MsgspecError:
        error = _Error(text)
    message = error.message or response.reason
    # Both headers: an invocation that is not there is refused in the name of the invocation, but has no id to tell.
    source = response.headers.get("x-restate-error-source", "invocation")
    if source == "invocation" and "x-restate-id" in response.headers:
        raise CallFailed(message, error.code or response.status, error.metadata, text)
    raise Refused(response.status, message, body=text)
