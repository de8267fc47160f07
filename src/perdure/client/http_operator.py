"""`HttpOperator`: what an operator asks, over HTTP, of the admin API of a perdure server.

What always holds: what changes something is sent once. Restate's routes are used where there is one, so that cancelling and
killing work against a Restate server too; lists, descriptions, state and signals are routes of perdure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec

from perdure.client.connection import Response
from perdure.client.errors import Refused
from perdure.client.exchange import Exchange, result
from perdure.client.http import rejection
from perdure.client.operator import Description, InvocationInfo, InvocationPage, Listing, Moment, Wait
from perdure.model.journal import Failure, Result

_ACCEPTED = 202
UNCHANGED = "x-perdure-unchanged"
"""The header of an answer that says that nothing had to be done, or that it waits for its turn."""


class _Error(msgspec.Struct):
    message: str


class _Summary(msgspec.Struct):
    id: str
    target: str
    status: str
    created_at_ms: int
    attempts: int
    completed_at_ms: int = 0
    last_error: _Error | None = None
    failure: _Error | None = None

    def info(self) -> InvocationInfo:
        return InvocationInfo(
            self.id,
            self.target,
            self.status,
            self.created_at_ms,
            self.completed_at_ms,
            self.attempts,
            None if self.last_error is None or self.status == "completed" else self.last_error.message,
            None if self.failure is None else self.failure.message,
        )


class _Described(_Summary, kw_only=True):
    waits_for: list[Wait]
    timeline: list[Moment]


class _Page(msgspec.Struct):
    invocations: list[_Summary]
    after: str | None


class _Bytes(msgspec.Struct):
    base64: str


class _State(msgspec.Struct):
    state: dict[str, str | _Bytes]


class _Restarted(msgspec.Struct):
    new_invocation_id: str


class HttpOperator:
    """See `Operator`. `admin` None: this client has no address of the admin API, and every request is refused."""

    def __init__(self, admin: Exchange | None) -> None:
        self._admin = admin

    async def cancel(self, invocation_id: str) -> None:
        await self._control(invocation_id, "cancel")

    async def kill(self, invocation_id: str) -> None:
        await self._control(invocation_id, "kill")

    async def pause(self, invocation_id: str) -> bool:
        return (await self._control(invocation_id, "pause")).status == _ACCEPTED

    async def resume(self, invocation_id: str) -> bool:
        return UNCHANGED not in (await self._control(invocation_id, "resume")).headers

    async def restart(self, invocation_id: str, from_index: int) -> str:
        response = await self._control(invocation_id, f"restart-as-new?from={from_index}")
        return msgspec.json.decode(response.body, type=_Restarted).new_invocation_id

    async def purge(self, invocation_id: str, *, journal_only: bool) -> None:
        await self._control(invocation_id, "purge-journal" if journal_only else "purge")

    async def signal(self, invocation_id: str, name: str, value: Result) -> None:
        path = f"/perdure/invocations/{invocation_id}/signals/{quote(name, safe='')}"
        if isinstance(value, Failure):
            await self._change("POST", f"{path}/reject", "text/plain", rejection(value, "a signal"))
        else:
            await self._change("POST", path, "application/json", value or b"")

    async def invocations(self, wanted: Listing) -> InvocationPage:
        asked = {name: value for name in wanted.__struct_fields__ if (value := getattr(wanted, name))}
        page = msgspec.json.decode(await self._read(f"/perdure/invocations?{urlencode(asked, doseq=True)}"), type=_Page)
        return InvocationPage([each.info() for each in page.invocations], page.after)

    async def describe(self, invocation_id: str) -> Description:
        body = await self._read(f"/perdure/invocations/{invocation_id}")
        described = msgspec.json.decode(body, type=_Described)
        return Description(described.info(), described.waits_for, described.timeline)

    async def state(self, service: str, key: str) -> dict[str, bytes]:
        body = await self._read(f"/perdure/state/{quote(service, safe='')}/{quote(key, safe='')}")
        found = msgspec.json.decode(body, type=_State).state
        return {
            name: value.encode() if isinstance(value, str) else base64.b64decode(value.base64)
            for name, value in found.items()
        }

    async def modify_state(self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None) -> bool:
        asked = {
            "object_key": key,
            "new_state": {name: list(value) for name, value in new_state.items()},
            "version": version,
        }
        path = f"/services/{quote(service, safe='')}/state"
        response = await self._change("POST", path, "application/json", msgspec.json.encode(asked))
        return UNCHANGED not in response.headers

    async def close(self) -> None:
        if self._admin is not None:
            await self._admin.close()

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def _control(self, invocation_id: str, verb: str) -> Response:
        return await self._change("PATCH", f"/invocations/{invocation_id}/{verb}")

    async def _change(self, method: str, path: str, content_type: str | None = None, body: bytes = b"") -> Response:
        admin = self._there()
        headers = None if content_type is None else {"content-type": content_type}

        async def once() -> Response:
            response = await admin.request(method, path, headers, body)
            result(response)
            return response

        return await admin.answered(once, repeatable=False)

    async def _read(self, path: str) -> bytes:
        admin = self._there()

        async def once() -> bytes:
            return result(await admin.request("GET", path))

        return await admin.answered(once, repeatable=True)

    def _there(self) -> Exchange:
        if self._admin is None:
            raise Refused(
                400,
                "this is part of the admin API, and this client has no address of it.",
                "Connect with `admin_url=`, as in perdure.connect(url, admin_url='http://localhost:9070').",
            )
        return self._admin
