"""A deployment that says anything at all: its attempts fail and are tried again, the engine's tables stay whole, and an
invocation beside it is served."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from h2.exceptions import ProtocolError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.model.target import Target
from perdure.node.errors import ControlRefused
from perdure.node.phase import Phase
from perdure.store.rows import Status
from perdure.wire import messages as m
from perdure.wire.framing import encode_frame
from tests.invoker.remote.scripted import END, Scripted, Stream, commands, control, output, scripted

pytestmark = pytest.mark.slow

ids = st.integers(0, 5)
texts = st.sampled_from(["", "k", "total", "\x00", "ä" * 20])
values = st.binary(max_size=10)
SOMEBODY = format_invocation_id(bytes(24))
services = st.sampled_from(["Plain", "Nobody", ""])
awakeables = st.sampled_from(["", "sign_1x", SOMEBODY])

good_pieces = st.one_of(
    st.builds(lambda number, name: commands(j.Run(number, name)), ids, texts),
    st.builds(lambda number, value: control(m.Type.PROPOSE_RUN_COMPLETION, m.ProposeRunCompletion(number, value)), ids, values),
    st.builds(lambda number, at: commands(j.Sleep(number, at)), ids, st.integers(0, 2**63)),
    st.builds(lambda key, value: commands(j.SetState(key, value)), texts, values),
    st.builds(lambda number, key: commands(j.GetLazyState(number, key)), ids, texts),
    st.builds(lambda number, key: commands(j.GetPromise(number, key)), ids, texts),
    st.builds(lambda a, b, name: commands(j.Call(a, b, Target(name, None, "h"), [], b"x")), ids, ids, services),
    st.builds(lambda a, at: commands(j.OneWayCall(a, Target("Plain", None, "h"), [], b"", at)), ids, st.integers(0, 2**63)),
    st.builds(lambda name, result: commands(j.CompleteAwakeable(name, result)), awakeables, values),
    st.builds(lambda numbers: control(m.Type.SUSPENSION, m.Suspension(numbers)), st.lists(ids, max_size=3)),
    st.builds(lambda numbers: control(m.Type.AWAITING_ON, m.AwaitingOn(m.Future(numbers))), st.lists(ids, max_size=3)),
    st.builds(lambda code, text: control(m.Type.ERROR, m.Error(code=code, message=text)), st.integers(0, 2**32 - 1), texts),
    st.builds(lambda result: commands(j.Output(result)), values),
    st.just(END),
)  # fmt: skip
any_frames = st.builds(
    encode_frame,
    st.sampled_from([*range(0, 8), *range(0x0400, 0x0416), 0x8000, 0x800C, 0xFBFF, 0xFC00]) | st.integers(0, 0xFFFF),
    st.binary(max_size=30),
    st.sampled_from([0, 0, 0x8000]),
)
answers = st.lists(good_pieces | good_pieces | any_frames | st.binary(max_size=12), max_size=8).map(b"".join)
ends = st.sampled_from(["end", "end", "reset"])
ATTEMPTS = 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(answers, ends), min_size=1, max_size=ATTEMPTS), st.integers(5, 7))
def test_anything_a_worker_says(said: list[tuple[bytes, str]], version: int) -> None:
    asyncio.run(asyncio.wait_for(one_example(said, version), 20))


async def one_example(said: list[tuple[bytes, str]], version: int) -> None:
    register = {"max_protocol_version": version}
    async with scripted(register=register, inactivity_timeout_ms=500, abort_timeout_ms=500) as there:
        invocation_id = await there.send("Object/k/h")
        serving = asyncio.ensure_future(serve(there, list(said)))
        try:
            await there.until(lambda: ended_or_waits(there, invocation_id))
            assert (await asyncio.wait_for(there.attach(await there.send()), 10)).result == b'"done"', "a bystander"
            if there.row(invocation_id).status is not Status.COMPLETED:
                with contextlib.suppress(ControlRefused):
                    await there.engine.kill(invocation_id)
                await there.until(lambda: there.row(invocation_id).status is Status.COMPLETED)
            assert there.engine.phase is Phase.READY
        finally:
            if serving.done():
                serving.result()
            serving.cancel()
            await asyncio.wait([serving])


def ended_or_waits(there: Scripted, invocation_id: bytes) -> bool:
    """It has come to an end, to a person, or to something that does not come here."""
    return there.row(invocation_id).status in (Status.COMPLETED, Status.PAUSED, Status.SUSPENDED)


async def serve(there: Scripted, said: list[tuple[bytes, str]]) -> None:
    """The object's attempts are told what was drawn, and then the truth; all others the truth at once."""
    while True:
        stream = await there.stream()
        version = int(stream.headers["content-type"].rpartition("v")[2])
        with contextlib.suppress(ProtocolError):  # the engine has let go of the stream meanwhile
            if said and "/Object/" in stream.headers.get(":path", ""):
                lie(stream, *said.pop(0), version=version)
            else:
                stream.accept(output(), version=version, end=True)


def lie(stream: Stream, answer: bytes, end: str, *, version: int) -> None:
    stream.accept(answer, version=version, end=end == "end")
    if end == "reset":
        stream._connection.h2.reset_stream(stream.id)
        stream._connection.flush()
