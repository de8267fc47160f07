"""One HTTP exchange of a Restate server with a handler: an attempt, its journal in and its messages out.

The request's body brings the journal and, while it stays open, what happens next; the response's body carries commands, results
of steps and how the attempt ended. Over HTTP/1.1 the request ends with the journal, so the attempt suspends at each await.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from perdure.endpoint.attempt import EndpointAttempt
from perdure.endpoint.machine import Machine, MachineError
from perdure.endpoint.recorded import Recorded
from perdure.env.executor import Executor
from perdure.model.driver import App, AttemptStart
from perdure.model.ids import parse_invocation_id
from perdure.model.journal import Input
from perdure.model.service import HandlerSpec
from perdure.model.target import HandlerKind, Target

CLOSE_WITHIN_S = 5.0
"""How long the end of a request is waited for once its attempt is over."""

_log = logging.getLogger("perdure.endpoint")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Exchange:
    def __init__(
        self,
        app: App,
        service: str,
        handler: HandlerSpec,
        headers: Mapping[str, str],
        machine: Machine,
        executor: Executor,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._service = service
        self._handler = handler
        self._headers = headers
        self._machine = machine
        self._executor = executor
        self._receive = receive
        self._send = send
        self._attempt: EndpointAttempt | None = None
        self._changed = asyncio.Event()
        self._input_closed = asyncio.Event()
        self._disconnected = False
        self._stopping = False
        self._recorded = Recorded()

    async def run(self, head: list[tuple[bytes, bytes]]) -> None:
        """From the response's head to its end. `head`: headers to add."""
        status, headers = self._machine.head()
        sent = [(name.encode(), value.encode()) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": sent + head})
        try:
            while not self._machine.ready() and self._take(await self._receive()):
                pass
            attempt = None if self._disconnected else self._begin()
        except MachineError as error:  # the machine tells the server itself
            _log.warning("A request for %s/%s was not understood: %s", self._service, self._handler.name, error)
            attempt = None
        if attempt is not None:
            await self._drive(attempt)
        if not self._disconnected:
            await self._flush()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drive(self, attempt: EndpointAttempt) -> None:
        loop = asyncio.get_running_loop()
        self._attempt = attempt
        if self._stopping:
            self.suspend()
        reader = loop.create_task(self._read(attempt))
        loop.call_soon(attempt.pump)
        try:
            while not attempt.over:
                await self._changed.wait()
                self._changed.clear()
                await self._flush()
            await self._flush()
            # Hypercorn forgets a stream once its response has ended, and stumbles over what still comes for it: the Restate
            # server ends its side when it has read how the attempt ended.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._input_closed.wait(), CLOSE_WITHIN_S)
        finally:
            attempt.abort()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def suspend(self) -> None:
        """The endpoint stops: let running steps finish, then leave; the invocation goes on elsewhere."""
        self._stopping = True
        if self._attempt is not None:
            self._machine.close_input()
            asyncio.get_running_loop().call_soon(self._attempt.pump)

    def _begin(self) -> EndpointAttempt:
        given = self._machine.input()
        key = None if self._handler.kind is HandlerKind.PLAIN else given.key
        start = AttemptStart(
            invocation_id=parse_invocation_id(given.invocation_id),
            target=Target(self._service, key, self._handler.name),
            epoch=0,
            seed=given.seed,
            started_at_ms=0,
            journal=[Input(given.headers, given.body)],
            times=[0],
            state=None,
            state_partial=True,
            idempotency_key=given.idempotency_key,
            scope=given.scope,
            limit_key=given.limit_key,
            attempt_headers=self._headers,
        )
        return EndpointAttempt(
            self._machine,
            self._app,
            start,
            self._executor,
            self._handler.abort_timeout_ms,
            self._recorded,
            self._changed.set,
        )

    async def _read(self, attempt: EndpointAttempt) -> None:
        """Take what comes while the attempt runs; it ends with the connection."""
        loop = asyncio.get_running_loop()
        while self._take(await self._receive()):
            loop.call_soon(attempt.pump)
        loop.call_soon(attempt.pump)
        if not self._disconnected:
            self._take(await self._receive())
        if self._disconnected:
            attempt.abort()
            self._changed.set()

    def _take(self, message: Message) -> bool:
        """False: no more will come."""
        if message["type"] == "http.disconnect":
            self._disconnected = True
            self._input_closed.set()
            return False
        body = message.get("body") or b""
        if body:
            self._machine.feed(body)
            if self._attempt is None:
                self._recorded.feed(body)
        if message.get("more_body"):
            return True
        self._machine.close_input()
        self._input_closed.set()
        return False

    async def _flush(self) -> None:
        while output := self._machine.take_output():
            await self._send({"type": "http.response.body", "body": output, "more_body": True})
