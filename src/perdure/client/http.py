"""`HttpTransport`: a client's requests over HTTP, to the ingress of a perdure or Restate server.

What always holds: a request is sent again after a lost connection only when that cannot make a second invocation: under an
idempotency key (one is made for each call and send that has none, unless `recover_s` is 0), for the run of a workflow, or
when it only reads. Results of handlers and refusals of the server are told apart by the header that says so.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote

import msgspec

from perdure.client.connection import Response
from perdure.client.errors import CallFailed, CallTimeout, ConnectionLost, Refused, Unreachable
from perdure.client.pool import Pool
from perdure.client.transport import Existing, Invoke, Receipt
from perdure.model.journal import Failure, Result
from perdure.model.target import Target

T = TypeVar("T")

NOT_READY = 470
REJECTED = 500
"""Code of every rejection from outside: HTTP has no place for another."""
_UNAVAILABLE = 503
_PAUSE_S_FIRST = 0.05
_PAUSE_S_MAX = 1.0


class _Error(msgspec.Struct):
    message: str = ""
    code: int | None = None
    metadata: dict[str, str] | None = None


class _Sent(msgspec.Struct, rename="camel"):
    invocation_id: str
    status: str = "Accepted"


class HttpTransport:
    """Units: `timeout_s` bounds each request as a whole (None: an answer may take weeks); `recover_s` is how long a request
    goes on trying to reach the server again after it lost the connection (0: it fails at once)."""

    def __init__(
        self,
        ingress: Pool,
        admin: Pool | None = None,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float | None = None,
        recover_s: float = 0.0,
    ) -> None:
        self._ingress = ingress
        self._admin = admin
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        self._timeout_s = timeout_s
        self._recover_s = recover_s

    async def call(self, invoke: Invoke) -> bytes:
        invoke = self._repeatable(invoke)
        path, headers = _path(invoke.target), self._call_headers(invoke)
        lost = False

        async def once() -> bytes:
            nonlocal lost
            if lost and invoke.workflow_run:
                # The run may have been accepted: then it must not be asked for again, but waited for.
                try:
                    return await self._attach(Existing(target=invoke.target))
                except Refused as refused:
                    if refused.status_code != 404:
                        raise
            try:
                return _result(await self._ingress.request("POST", path, headers, invoke.body))
            except (ConnectionLost, Refused) as error:
                lost = lost or isinstance(error, ConnectionLost) or error.status_code == _UNAVAILABLE
                raise

        return await self._answered(once, invoke)

    async def send(self, invoke: Invoke) -> Receipt:
        made_here = invoke.idempotency_key is None and not invoke.workflow_run
        invoke = self._repeatable(invoke)
        delay = f"?delay={invoke.delay_ms}" if invoke.delay_ms else ""
        path, headers = f"{_path(invoke.target)}/send{delay}", self._call_headers(invoke)

        async def once() -> Receipt:
            sent = msgspec.json.decode(
                _result(await self._ingress.request("POST", path, headers, invoke.body)), type=_Sent
            )
            # Under a key that was made here, the earlier request can only have been this one.
            return Receipt(sent.invocation_id, sent.status == "PreviouslyAccepted" and not made_here)

        return await self._answered(once, invoke)

    async def attach(self, existing: Existing) -> bytes:
        return await self._answered(lambda: self._attach(existing))

    async def output(self, existing: Existing) -> bytes | None:
        path = f"{_existing_path(existing)}/output"

        async def once() -> bytes | None:
            response = await self._ingress.request("GET", path, self._headers)
            return None if response.status == NOT_READY else _result(response)

        return await self._answered(once)

    async def complete(self, awakeable_id: str, result: Result) -> None:
        path = f"/restate/awakeables/{awakeable_id}"
        if isinstance(result, Failure):
            await self._post(f"{path}/reject", "text/plain", _reason(result, "an awakeable"))
        else:
            await self._post(f"{path}/resolve", "application/json", result or b"")

    async def signal(self, invocation_id: str, name: str, result: Result) -> None:
        admin = self._admin_pool("Signals are")
        path = f"/perdure/invocations/{invocation_id}/signals/{quote(name, safe='')}"
        if isinstance(result, Failure):
            await self._post(f"{path}/reject", "text/plain", _reason(result, "a signal"), admin)
        else:
            await self._post(path, "application/json", result or b"", admin)

    async def cancel(self, invocation_id: str) -> None:
        admin = self._admin_pool("Cancellation is")

        async def once() -> bytes:
            return _result(await admin.request("PATCH", f"/invocations/{invocation_id}/cancel", self._headers))

        await self._answered(once)

    async def close(self) -> None:
        await self._ingress.close()
        if self._admin is not None:
            await self._admin.close()

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _attach(self, existing: Existing) -> bytes:
        return _result(await self._ingress.request("GET", f"{_existing_path(existing)}/attach", self._headers))

    async def _post(self, path: str, content_type: str, body: bytes, pool: Pool | None = None) -> None:
        headers = {**self._headers, "content-type": content_type}

        async def once() -> bytes:
            return _result(await (pool or self._ingress).request("POST", path, headers, body))

        await self._answered(once)

    async def _answered(self, once: Callable[[], Awaitable[T]], invoke: Invoke | None = None) -> T:
        """The answer to a request, within the timeout. Errors: those of `once`, CallTimeout."""
        key = None if invoke is None else invoke.idempotency_key
        repeatable = self._recover_s > 0 and (invoke is None or invoke.workflow_run or key is not None)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await (self._until_answered(once) if repeatable else once())
        except ConnectionLost as error:
            error.idempotency_key = key
            raise
        except TimeoutError as error:
            next_step = f"Its idempotency key is {key!r}." if key is not None else ""
            raise CallTimeout(
                f"no answer from {self._ingress.address} within {self._timeout_s:g} s; what was accepted goes on.",
                next_step,
                key,
            ) from error

    async def _until_answered(self, once: Callable[[], Awaitable[T]]) -> T:
        """Try again while the server is away, for `recover_s` from when that was noticed."""
        loop = asyncio.get_running_loop()
        lost: ConnectionLost | Refused | None = None
        lost_at, pause_s = 0.0, _PAUSE_S_FIRST
        while True:
            try:
                return await once()
            except (ConnectionLost, Refused) as error:
                if isinstance(error, Refused) and error.status_code != _UNAVAILABLE:
                    raise
                if lost is None or isinstance(error, ConnectionLost):  # the latter: it had been back in between
                    lost, lost_at, pause_s = error, loop.time(), _PAUSE_S_FIRST
            except Unreachable:
                if lost is None:
                    raise  # nothing was sent, and nothing has ever answered: most likely a wrong address
            if loop.time() - lost_at >= self._recover_s:
                raise lost
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    def _repeatable(self, invoke: Invoke) -> Invoke:
        if self._recover_s > 0 and invoke.idempotency_key is None and not invoke.workflow_run:
            return replace(invoke, idempotency_key=f"client-{uuid.uuid4()}")
        return invoke

    def _call_headers(self, invoke: Invoke) -> dict[str, str]:
        headers = {**self._headers, **{name.lower(): value for name, value in invoke.headers}}
        if invoke.content_type is not None:
            headers["content-type"] = invoke.content_type
        if invoke.idempotency_key is not None:
            headers["idempotency-key"] = invoke.idempotency_key
        return headers

    def _admin_pool(self, what: str) -> Pool:
        if self._admin is None:
            raise Refused(
                400,
                f"{what} part of the admin API, and this client has no address of it.",
                "Connect with `admin_url=`, as in perdure.connect(url, admin_url='http://localhost:9070').",
            )
        return self._admin


def _path(target: Target) -> str:
    key = "" if target.key is None else f"/{quote(target.key, safe='')}"
    return f"/{target.service}{key}/{target.handler}"


def _existing_path(existing: Existing) -> str:
    target = existing.target
    if target is None:
        return f"/restate/invocation/{existing.invocation_id}"
    if existing.idempotency_key is None:
        return f"/restate/workflow/{target.service}/{quote(target.key or '', safe='')}"
    return f"/restate/invocation{_path(target)}/{existing.idempotency_key}"


def _reason(failure: Failure, what: str) -> bytes:
    if failure.code != REJECTED:
        raise Refused(400, f"over HTTP {what} is always rejected with code {REJECTED}.", "Leave the code out.")
    return failure.message.encode()


def _result(response: Response) -> bytes:
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
