"""`Engine`: what a running engine can be asked: call, send, attach; operators: `control`, `inspection`."""

from __future__ import annotations

import asyncio
from functools import cached_property

from perdure.invoker.requests import make_request
from perdure.log.errors import RecordRefused
from perdure.model.errors import PerdureError
from perdure.model.ids import keyed_invocation_id
from perdure.model.journal import Failure, InvokeRequest
from perdure.model.limits import TIMER_AT_MS_MAX
from perdure.model.records import Invoke
from perdure.model.service import HandlerSpec
from perdure.model.target import HandlerKind, ServiceKind, Target
from perdure.node.callers import Waiter
from perdure.node.deployments import Deployments
from perdure.node.errors import BadRequest, DiskFull, InvocationNotFound, Overloaded, TooLarge
from perdure.node.inspection import Inspection
from perdure.node.phase import Phase
from perdure.node.requests import Accepted, NewInvocation, Outcome
from perdure.node.snapshots import Snapshots
from perdure.partition import actions as a
from perdure.store.rows import Invocation, JournalChunk, Status

_WAIT_FOR_ROOM_S = 5.0


class Engine(Inspection, Snapshots):
    """One running engine. Made on the event loop that it will run on: `start` first, `stop` once."""

    @cached_property
    def deployments(self) -> Deployments:
        return Deployments(self)

    async def call(self, request: NewInvocation) -> Outcome:
        """Start an invocation (or join one) and wait for its end. A caller that goes away stops nothing.

        Errors: NodeError of every kind; InputRejected for a body that does not fit.
        """
        if not self.takes_calls:
            await self._until_it_takes_calls()
        done: asyncio.Future[Outcome] = self.loop.create_future()
        waiter = _settling(done)
        invocation_id = self.begin_call(request, waiter)
        try:
            return await done
        finally:
            self.callers.leave(invocation_id, waiter)

    def begin_call(self, request: NewInvocation, done: Waiter) -> bytes:
        """Start an invocation (or join one) without waiting: `done` is called at its end. Returns its id.

        Only while `takes_calls`. Errors: as `call`, of what can be said at once; `done` is not called then.
        """
        spec, invoke = self._prepare(request)
        invocation_id = invoke.invocation_id
        reply = None
        if spec.kind is HandlerKind.RUN or invoke.idempotency_key is not None:

            def reply(actions: list[a.Action]) -> None:
                accepted = actions[0]
                assert type(accepted) is a.Accepted
                if accepted.duplicate and spec.kind is HandlerKind.RUN:
                    self.callers.leave(invocation_id, done)
                    done(Outcome(invocation_id, Failure(409, "the workflow method was already invoked")))
                else:
                    self.callers.accepted(invocation_id, done)

            self.callers.ask(invocation_id, done)
        else:
            self.callers.wait(invocation_id, done)
        try:
            self.propose(Invoke(self.home_of(invocation_id), self.now_ms(), invoke), awaited=True, reply=reply)
        except BaseException as error:
            self.callers.leave(invocation_id, done)
            if isinstance(error, RecordRefused):
                raise TooLarge(error.what) from error
            raise
        return invocation_id

    async def send(self, request: NewInvocation) -> Accepted:
        """Start an invocation, now or after `delay_ms`; returns when it is durable. Errors: as `call`."""
        if not self.takes_calls:
            await self._until_it_takes_calls()
        _, invoke = self._prepare(request)
        record = Invoke(self.home_of(invoke.invocation_id), self.now_ms(), invoke)
        try:
            actions = await self.applied(record)
        except RecordRefused as refused:
            raise TooLarge(refused.what) from refused
        accepted = actions[0]
        assert type(accepted) is a.Accepted
        return Accepted(accepted.invocation_id, accepted.duplicate, accepted.execute_at_ms)

    async def attach(self, invocation_id: bytes) -> Outcome:
        """Wait for the end of an invocation. Errors: InvocationNotFound, NodeStopped."""
        outcome = await self.output(invocation_id)
        if outcome is not None:
            return outcome
        done: asyncio.Future[Outcome] = self.loop.create_future()
        waiter = _settling(done)
        self.callers.wait(invocation_id, waiter)
        try:
            return await done
        finally:
            self.callers.leave(invocation_id, waiter)

    async def output(self, invocation_id: bytes) -> Outcome | None:
        """The result of a finished invocation, None while it is not. Errors: InvocationNotFound, NodeStopped."""
        await self.ready()
        row = self.find(invocation_id)
        if row is None:
            raise InvocationNotFound()
        if row.status is not Status.COMPLETED:
            return None
        return Outcome(row.id, row.result, row.expires_at_ms)

    def derived_id(self, target: Target, idempotency_key: str | None) -> bytes:
        """The id of a workflow run or an idempotent request, whether it exists or not. Errors: ServiceNotFound, …"""
        _, spec = self.registry.resolve(target.service, target.handler)
        return keyed_invocation_id(
            target.service,
            target.key,
            target.handler,
            workflow_run=spec.kind is HandlerKind.RUN,
            idempotency_key=idempotency_key,
            at_ms=0,
            random=bytes(18),
        )

    def describe(self, invocation_id: bytes) -> tuple[Invocation, JournalChunk]:
        """Everything the tables hold of an invocation. Errors: InvocationNotFound."""
        row = self.find(invocation_id)
        if row is None:
            raise InvocationNotFound()
        return row, self.store.tables[self.home_of(invocation_id)].journal(row.seq)

    # --- inside ---------------------------------------------------------------------------------------------------------

    @property
    def takes_calls(self) -> bool:
        """False while the engine starts, stops, or lets the store catch up."""
        return self.phase is Phase.READY and not self.pool.throttled

    async def _until_it_takes_calls(self) -> None:
        """Errors: NodeStopped, Overloaded."""
        await self.ready()
        if self.pool.throttled:
            await self._wait_for_room()
            await self.ready()

    def _prepare(self, request: NewInvocation) -> tuple[HandlerSpec, InvokeRequest]:
        target = request.target
        service, spec = self.registry.resolve(target.service, target.handler)
        _check_target(service.kind, target)
        if len(request.body) > self.settings.body_bytes_max:
            raise TooLarge(f"the body has {len(request.body)} bytes; at most {self.settings.body_bytes_max} are taken.")
        if self.app is not None and self.registry.deployment_of(target.service) is None:
            self.app.validate_input(spec, target, request.content_type, request.body)
        if not self.log.accepting:
            raise DiskFull(
                "the disk is full: no new invocations until there is space.", "Free space; running ones go on."
            )
        now_ms = self.now_ms()
        invoke = make_request(
            spec,
            target,
            headers=request.headers,
            body=request.body,
            idempotency_key=request.idempotency_key,
            implicit_key=request.origin.kind == "ingress" and service.kind is not ServiceKind.WORKFLOW,
            execute_at_ms=min(now_ms + request.delay_ms, TIMER_AT_MS_MAX) if request.delay_ms > 0 else 0,
            origin=request.origin,
            caller=None,
            at_ms=now_ms,
            random=self.random,
            deployment=self.registry.accepted_by(target.service),
            traceparent=request.traceparent,
            tracestate=request.tracestate,
        )
        self._check_inbox(spec, target, invoke.invocation_id)
        return spec, invoke

    def _check_inbox(self, spec: HandlerSpec, target: Target, invocation_id: bytes) -> None:
        if spec.kind is not HandlerKind.EXCLUSIVE:
            return
        tables = self.store.tables[self.home_of(invocation_id)]
        queue = tables.key_queue(target.service, target.key or "")
        if queue is None or queue.tail - queue.head < self.settings.inbox_length_max:
            return
        if tables.find(invocation_id) is None:  # a request that is repeated joins the one that stands there
            raise Overloaded(
                f"{self.settings.inbox_length_max} invocations wait for {target.service}/{target.key} already.",
                "Try again later, or spread the work over more keys.",
            )

    async def _wait_for_room(self) -> None:
        self.room.clear()
        try:
            await asyncio.wait_for(self.room.wait(), _WAIT_FOR_ROOM_S)
        except TimeoutError:
            raise Overloaded("the store cannot keep up with the load.", "Try again later.") from None


def _settling(future: asyncio.Future[Outcome]) -> Waiter:
    """For who waits in a coroutine."""

    def settle(answer: Outcome | PerdureError) -> None:
        if future.done():
            return
        if isinstance(answer, Outcome):
            future.set_result(answer)
        else:
            future.set_exception(answer)

    return settle


def _check_target(kind: ServiceKind, target: Target) -> None:
    if kind is ServiceKind.SERVICE and target.key is not None:
        raise BadRequest(f"'{target.service}' is a plain service: it takes no key.")
    if kind is not ServiceKind.SERVICE and target.key is None:
        raise BadRequest(f"'{target.service}' is keyed: name the key, as in {target.service}/KEY/{target.handler}.")
