"""What is checked of a command before it is proposed, and what is filled into a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from perdure.invoker import replay
from perdure.invoker.requests import make_request
from perdure.model import journal as j
from perdure.model.errors import PerdureError
from perdure.model.ids import BadId, parse_awakeable_id
from perdure.model.limits import BODY_BYTES_MAX, JOURNAL_ENTRIES_MAX, TIMER_AT_MS_MAX
from perdure.model.records import AttemptError
from perdure.model.target import HandlerKind, ServiceKind, Target

if TYPE_CHECKING:
    from perdure.invoker.host import Host
    from perdure.model.service import HandlerSpec
    from perdure.store.rows import Invocation

TOO_LONG = AttemptError(
    500,
    f"the journal holds {JOURNAL_ENTRIES_MAX} entries, the most it can: split the work into several invocations.",
    doc_code="PD0311",
)
_PAYLOAD = {
    j.Output: "result",
    j.SetState: "value",
    j.Call: "body",
    j.OneWayCall: "body",
    j.CompleteAwakeable: "result",
    j.CompletePromise: "result",
    j.SendSignal: "result",
}
_WRITES = (j.SetState, j.ClearState, j.ClearAllState)
_MAY_WRITE = (HandlerKind.EXCLUSIVE, HandlerKind.RUN)
_READS = (j.GetLazyState, j.GetLazyStateKeys, j.GetEagerState, j.GetEagerStateKeys)
_PROMISES = (j.GetPromise, j.PeekPromise, j.CompletePromise)


class CommandRefused(Exception):
    """`park`: another attempt would issue it again, so the invocation pauses."""

    def __init__(self, error: AttemptError, *, park: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.park = park


def admit(command: j.Command, host: Host, spec: HandlerSpec, key: tuple[int, int], row: Invocation) -> None:
    """Check a command of the attempt of `row`, which runs `spec` under `key` (partition, seq). Errors: CommandRefused."""
    kind = type(command)
    field = _PAYLOAD.get(kind)
    if field is not None:
        _check_size(command, getattr(command, field))
    if kind is j.Call or kind is j.OneWayCall:
        _resolve(cast("j.Call | j.OneWayCall", command), host, key, row)
    elif kind is j.CompleteAwakeable:
        _check_awakeable(cast(j.CompleteAwakeable, command))
    elif kind is j.Sleep:
        sleep = cast(j.Sleep, command)
        sleep.wake_at_ms = min(sleep.wake_at_ms, TIMER_AT_MS_MAX)
    elif kind in _WRITES and spec.kind not in _MAY_WRITE:
        _refuse(row, command, "only exclusive handlers write state")
    elif kind in _READS and spec.kind is HandlerKind.PLAIN:
        _refuse(row, command, "a plain service has no state")
    elif kind in _PROMISES and not _of_workflow(host, spec, row):
        _refuse(row, command, "only workflows have promises")


def _refuse(row: Invocation, command: j.Command, why: str) -> NoReturn:
    text = f"{row.target} may not {replay.describe(command)}: {why}."
    raise CommandRefused(AttemptError(500, text, doc_code="RT0017"), park=True)


def _check_awakeable(command: j.CompleteAwakeable) -> None:
    try:
        parse_awakeable_id(command.awakeable_id)
    except BadId as bad:
        text = f"'{command.awakeable_id}' is no id of an awakeable: {bad}."
        raise CommandRefused(AttemptError(500, text, doc_code="RT0012"), park=False) from bad


def _of_workflow(host: Host, spec: HandlerSpec, row: Invocation) -> bool:
    if spec.kind is not HandlerKind.SHARED:
        return spec.kind is HandlerKind.RUN
    try:
        service, _ = host.resolve(row.target.service, row.target.handler)
    except PerdureError:  # the latest deployment no longer has it: what it was is not known here
        return True
    return service.kind is ServiceKind.WORKFLOW


def _check_size(command: j.Command, payload: object) -> None:
    if type(payload) is bytes and len(payload) > BODY_BYTES_MAX:
        text = f"{replay.describe(command)} carries {len(payload)} bytes; at most {BODY_BYTES_MAX} are taken."
        raise CommandRefused(AttemptError(413, text, doc_code="RT0003"), park=True)


def _resolve(command: j.Call | j.OneWayCall, host: Host, key: tuple[int, int], row: Invocation) -> None:
    target = command.target
    try:
        service, spec = host.resolve(target.service, target.handler)
    except PerdureError as unknown:
        # Retried, not parked: the service may be registered by then.
        text = f"the service handler {target.service}/{target.handler} was not found: {unknown.what}"
        raise CommandRefused(AttemptError(500, text, doc_code="RT0018"), park=False) from unknown
    if service.kind is ServiceKind.SERVICE:
        if target.key is not None:
            callee = f"a key was provided, but the callee '{target.service}' is a Service"
            text = f"{callee}. Only VirtualObjects or Workflows accept a key."
            raise CommandRefused(AttemptError(500, text, doc_code="RT0017"), park=False)
    elif target.key is None:  # the protocol does not tell no key from an empty one
        target = Target(target.service, "", target.handler)
    if command.idempotency_key == "":
        text = f"{target} is called with an empty idempotency key: leave it out, or give one."
        raise CommandRefused(AttemptError(500, text, doc_code="RT0017"), park=False)
    if command.scope is not None or command.limit_key is not None:
        text = f"{target} is called with a scope or a limit key, which are not supported."
        raise CommandRefused(AttemptError(500, text, doc_code="RT0024"), park=False)
    execute_at_ms, caller = 0, None
    if type(command) is j.OneWayCall:
        execute_at_ms = min(command.invoke_at_ms, TIMER_AT_MS_MAX)
    else:
        assert type(command) is j.Call
        caller = j.Caller(*key, command.completion_id, j.CompletionCode.CALL)
    command.request = make_request(
        spec,
        target,
        headers=[],
        body=b"",
        idempotency_key=command.idempotency_key,
        execute_at_ms=execute_at_ms,
        origin=j.Origin("service", row.id, row.target),
        caller=caller,
        at_ms=host.now_ms(),
        random=host.random,
        deployment=host.accepted_by(target.service),
        traceparent=row.traceparent,
        tracestate=row.tracestate,
    )
