"""`HttpTransport`: a client's requests over HTTP, to the ingress of a perdure or Restate server.

What always holds: a request is sent again after a lost connection only when that cannot make a second invocation: under an
idempotency key (one is made for each call and send that has none, unless `recover_s` is 0), for the run of a workflow, or
when it only reads or completes what can be completed once.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from urllib.parse import quote

import msgspec

from perdure.client.errors import CallFailed, ConnectionLost, Refused
from perdure.client.exchange import Exchange, result, went_away
from perdure.client.transport import Existing, Invoke, Receipt
from perdure.model.journal import Failure, Result
from perdure.model.target import Target

NOT_READY = 470
REJECTED = 500
"""Code of every rejection from outside: HTTP has no place for another."""


class _Sent(msgspec.Struct, rename="camel"):
    invocation_id: str
    status: str = "Accepted"


class HttpTransport:
    """See `Transport`."""

    def __init__(self, ingress: Exchange) -> None:
        self._ingress = ingress

    async def call(self, invoke: Invoke) -> bytes:
        invoke = self._repeatable(invoke)
        path, headers = _path(invoke.target), _call_headers(invoke)
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
                return result(await self._ingress.request("POST", path, headers, invoke.body))
            except (ConnectionLost, Refused) as error:
                lost = lost or went_away(error)
                raise

        return await self._ingress.answered(once, repeatable=_once_only(invoke), key=invoke.idempotency_key)

    async def send(self, invoke: Invoke) -> Receipt:
        made_here = invoke.idempotency_key is None and not invoke.workflow_run
        invoke = self._repeatable(invoke)
        delay = f"?delay={invoke.delay_ms}" if invoke.delay_ms else ""
        path, headers = f"{_path(invoke.target)}/send{delay}", _call_headers(invoke)

        async def once() -> Receipt:
            response = await self._ingress.request("POST", path, headers, invoke.body)
            sent = msgspec.json.decode(result(response), type=_Sent)
            # Under a key that was made here, the earlier request can only have been this one.
            return Receipt(sent.invocation_id, sent.status == "PreviouslyAccepted" and not made_here)

        return await self._ingress.answered(once, repeatable=_once_only(invoke), key=invoke.idempotency_key)

    async def attach(self, existing: Existing) -> bytes:
        return await self._ingress.answered(lambda: self._attach(existing), repeatable=True)

    async def output(self, existing: Existing) -> bytes | None:
        path = f"{_existing_path(existing)}/output"

        async def once() -> bytes | None:
            response = await self._ingress.request("GET", path)
            return None if response.status == NOT_READY else result(response)

        return await self._ingress.answered(once, repeatable=True)

    async def complete(self, awakeable_id: str, value: Result) -> None:
        path = f"/restate/awakeables/{awakeable_id}"
        if isinstance(value, Failure):
            path, content_type, body = f"{path}/reject", "text/plain", rejection(value, "an awakeable")
        else:
            path, content_type, body = f"{path}/resolve", "application/json", value or b""

        async def once() -> bytes:
            return result(await self._ingress.request("POST", path, {"content-type": content_type}, body))

        await self._ingress.answered(once, repeatable=True)

    async def close(self) -> None:
        await self._ingress.close()

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _attach(self, existing: Existing) -> bytes:
        path = _existing_path(existing)
        try:
            return result(await self._ingress.request("GET", f"{path}/attach"))
        except CallFailed as failed:
            # An invocation that is not there is answered like one that has failed with 404. Asked for its output, the
            # server tells the two apart.
            if failed.status_code == 404:
                output = await self._ingress.request("GET", f"{path}/output")
                if output.headers.get("x-restate-error-source") == "ingress":
                    raise Refused(404, failed.message) from None
            raise

    def _repeatable(self, invoke: Invoke) -> Invoke:
        if self._ingress.recover_s > 0 and invoke.idempotency_key is None and not invoke.workflow_run:
            return replace(invoke, idempotency_key=f"client-{uuid.uuid4()}")
        return invoke


def rejection(failure: Failure, what: str) -> bytes:
    """The body of a rejection. Errors: Refused for a code that HTTP has no place for."""
    if failure.code != REJECTED:
        raise Refused(400, f"over HTTP {what} is always rejected with code {REJECTED}.", "Leave the code out.")
    return failure.message.encode()


def _once_only(invoke: Invoke) -> bool:
    return invoke.workflow_run or invoke.idempotency_key is not None


def _call_headers(invoke: Invoke) -> dict[str, str]:
    headers = {name.lower(): value for name, value in invoke.headers}
    if invoke.content_type is not None:
        headers["content-type"] = invoke.content_type
    if invoke.idempotency_key is not None:
        headers["idempotency-key"] = invoke.idempotency_key
    return headers


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
