"""Writes the golden log of the current format: `python -m tests.golden.make_log tests/golden/log/format-1`.

A golden log is written once, by the release that brought its format, and never again: every later release must read it to
the same records. It holds every record, every journal entry and every optional field.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from perdure.env.executor import ThreadExecutor
from perdure.env.files import SystemFiles
from perdure.log.segment_log import SegmentLog
from perdure.model.deployment import Deployment, Pin
from perdure.model.journal import (
    AttachInvocation,
    Awaiting,
    AwaitTree,
    Call,
    Caller,
    ClearAllState,
    ClearState,
    CompleteAwakeable,
    CompletePromise,
    Completion,
    CompletionCode,
    Entry,
    Failure,
    GetEagerState,
    GetEagerStateKeys,
    GetInvocationOutput,
    GetLazyState,
    GetLazyStateKeys,
    GetPromise,
    IdempotentTarget,
    Input,
    InvokeRequest,
    OneWayCall,
    Origin,
    Output,
    PeekPromise,
    Run,
    SendSignal,
    SetState,
    Signal,
    Sleep,
    WorkflowTarget,
)
from perdure.model.records import (
    AttachMessage,
    AttemptError,
    AttemptFailed,
    Cancel,
    CompletionMessage,
    Deliver,
    DeliverSignal,
    DropDeployment,
    Forget,
    Interrupted,
    Invoke,
    InvokeMessage,
    Kill,
    KillMessage,
    Lead,
    ModifyState,
    OutboxDelivered,
    Pause,
    Progress,
    Purge,
    PurgeJournal,
    PutDeployment,
    Record,
    Restart,
    Resume,
    SignalMessage,
    Suspended,
    TimersFired,
)
from perdure.model.service import HandlerSpec, Policies, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind, Target

AT = 1_790_000_000_000
ID, OTHER_ID = bytes(range(24)), bytes(range(100, 124))
GREET, TICKET = Target("greeter", None, "greet"), Target("ticket", "seat-7 ü", "reserve")
TREE = AwaitTree(2, [1], [17], [AwaitTree(1, [2], ["named"])])
DEPLOYMENT = Deployment(
    id="dp_1",
    uri="http://127.0.0.1:9080/",
    http_version="HTTP/1.1",
    bidirectional=False,
    max_protocol_version=7,
    created_at_ms=AT,
    sdk_version="restate-sdk-python/1.3.0",
    additional_headers={"a": "b"},
    metadata={"team": "sales"},
    services=[
        ServiceSpec(
            name="ticket",
            kind=ServiceKind.VIRTUAL_OBJECT,
            handlers={"reserve": HandlerSpec(name="reserve", kind=HandlerKind.EXCLUSIVE)},
        )
    ],
    revisions={"ticket": 3},
    modified={"ticket": Policies(public=False)},
)
FAILURE = Failure(409, "cancelled", {"by": "operator"})


def request(**optional: object) -> InvokeRequest:
    return InvokeRequest(ID, GREET, HandlerKind.PLAIN, [("x-a", "1")], b'"Ann"', 7, 86_400_000, 3_600_000, **optional)  # type: ignore[arg-type]


def every_option() -> InvokeRequest:
    return request(
        idempotency_key="order-1",
        execute_at_ms=AT + 1000,
        origin=Origin("service", OTHER_ID, TICKET),
        caller=Caller(1, 12, 3, CompletionCode.CALL),
        deployment="dp_11nGQpCRmau6ypL82KH2TnP",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="vendor=1",
        scope="tenant-1",
        limit_key="mail",
        priority=-3,
        tags=["nightly", "import"],
        memo={"order": "1"},
    )


def entries() -> list[Entry]:
    return [
        Input([("content-type", "application/json")], b"{}"),
        GetLazyState(1, "count"),
        SetState("count", b"\x00\xff"),
        ClearState("count"),
        ClearAllState("wipe"),
        GetLazyStateKeys(2),
        GetEagerState("count", None),
        GetEagerState("count", b"1"),
        GetEagerStateKeys(["a", "b"]),
        GetPromise(3, "paid"),
        PeekPromise(4, "paid"),
        CompletePromise(5, "paid", FAILURE),
        Sleep(6, AT + 60_000, "wait"),
        Call(7, 8, TICKET, [], b"", "once", "call", every_option(), "tenant", "gold"),
        OneWayCall(9, GREET, [("a", "b")], b"x", AT + 5, "key", "send", request(), "tenant", "gold"),
        SendSignal(OTHER_ID, 17, b"signal"),
        SendSignal(OTHER_ID, "named", None),
        Run(10, "charge"),
        AttachInvocation(11, OTHER_ID),
        AttachInvocation(13, OTHER_ID, "attach", IdempotentTarget(TICKET, "once", "tenant")),
        GetInvocationOutput(12, OTHER_ID),
        GetInvocationOutput(14, OTHER_ID, "", WorkflowTarget("sale", "7")),
        CompleteAwakeable("sign_1AAAA", b"yes"),
        Completion(1, CompletionCode.LAZY_STATE, b"1"),
        Completion(2, CompletionCode.LAZY_STATE_KEYS, ["a", "b"]),
        Completion(10, CompletionCode.RUN, FAILURE),
        Completion(6, CompletionCode.SLEEP),
        Signal(1),
        Signal("named", b"value"),
        Output(Failure(500, "boom")),
    ]


def batches() -> list[list[Record]]:
    everything = entries()
    error = AttemptError(500, "boom", "Traceback", "RT0007", 3, "charge", "Run", 10)
    messages = [
        InvokeMessage(every_option()),
        CompletionMessage(12, Completion(3, CompletionCode.CALL, b"ok")),
        SignalMessage(ID, "named", FAILURE),
        AttachMessage(ID, Caller(0, 4, 5, CompletionCode.ATTACH), False),
        KillMessage(ID),
    ]
    return [
        [Lead(0, AT, 1), Lead(1, AT, 1)],
        [Invoke(0, AT + 1, request())],
        [Invoke(0, AT + 2, every_option())],
        [Progress(0, AT + 3, 1, 1, everything[:-1]), Progress(0, AT + 3, 1, 1, everything[-1:], True, Pin("dp_1", 7))],
        [AttemptFailed(0, AT + 4, 1, 1, error, AT + 500), AttemptFailed(0, AT + 4, 1, 2, error, None, "kill", False)],
        [Suspended(0, AT + 5, 1, 2, Awaiting([1, 2], [17, "named"], TREE), 4), Interrupted(0, AT + 5, 2, 1, AT + 9)],
        [TimersFired(0, AT + 6, [(AT, 1, 6), (AT, 2, 0)]), DeliverSignal(1, AT + 6, ID, 17, b"approved")],
        [Deliver(1, AT + 7, 0, number, message) for number, message in enumerate(messages, 1)],
        [OutboxDelivered(0, AT + 8, 1, 5), Forget(0, AT + 9, [1, 2, 3])],
        [
            Kill(0, AT + 9, ID),
            Cancel(0, AT + 9, ID),
            Resume(0, AT + 9, ID, "dp_2"),
            Pause(0, AT + 9, ID),
            Purge(0, AT + 9, ID),
        ],
        [PurgeJournal(0, AT + 10, ID), Restart(0, AT + 10, ID, OTHER_ID, 7, 3, 1000, 500, "dp_1", 6)],
        [ModifyState(1, AT + 11, "ticket", "seat-7 ü", {"held": b"1"}, "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")],
        [PutDeployment(0, AT + 12, DEPLOYMENT), DropDeployment(0, AT + 12, "dp_0")],
    ]


class _FixedClock:
    def now_ms(self) -> int:
        return AT

    def monotonic(self) -> float:
        return 0.0


class _FixedRandom:
    def __init__(self) -> None:
        self._count = 0

    def bytes(self, count: int) -> bytes:
        self._count += 1
        return bytes((self._count * 37 + position * 11) % 256 for position in range(count))

    def fraction(self) -> float:
        return 0.5


async def write(directory: Path) -> None:
    executor = ThreadExecutor(1)
    log = await SegmentLog.open(
        SystemFiles(),
        directory,
        loop=asyncio.get_running_loop(),
        executor=executor,
        clock=_FixedClock(),
        random=_FixedRandom(),
        on_durable=lambda first_lsn, records: None,
        on_failure=lambda error: sys.exit(str(error)),
        segment_first_bytes=1024,
        segment_bytes=4096,
    )
    for batch in batches():
        for record in batch:
            log.append(record)
        await log.sync()
    await log.close(clean=True)
    executor.shutdown(wait=True)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if target.exists():
        sys.exit(f"{target} exists: a golden log is never written again")
    asyncio.run(write(target))
    for name in ("lock", *(path.name for path in target.glob("spare-*"))):
        (target / name).unlink()
