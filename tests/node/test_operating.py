"""What an operator does to a running engine: restart, purge, signals, state; and what he sees: lists, timelines, waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

import perdure
from perdure.model.ids import format_invocation_id, partition_key
from perdure.model.limits import STATE_CHANGES_WAITING_MAX
from perdure.model.state_version import state_version
from perdure.node import inspection
from perdure.node.engine import Engine
from perdure.node.errors import BadRequest, ControlRefused, InvocationNotFound, Overloaded, ServiceNotFound
from perdure.node.inspection import Filter
from perdure.store.rows import Status

from .rig import abandon, call, image, make_engine, result_of, row_of, running, send, until, until_status
from .virtual import HOUR, in_virtual_time

desk = perdure.Service("Desk")
box = perdure.VirtualObject("Box")
once = perdure.Workflow("Once")
ran: Counter[str] = Counter()
drawn: list[int] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    drawn.clear()


def note(name: str) -> str:
    ran[name] += 1
    return f"{name} {ran[name]}"


@desk.handler()
async def work(ctx: perdure.Context, who: str) -> list[str]:
    number = ctx.random().randrange(1_000_000)
    if not drawn or drawn[-1] != number:
        drawn.append(number)
    first = await ctx.run_typed("first", note, name="first")
    await ctx.sleep(timedelta(minutes=10))
    late = (await ctx.time()) % 1 == 2  # never true: the clock is read, and read again on a replay
    last = await ctx.run_typed("last", note, name="last")
    return [who, first, last, str(late)]


@desk.handler()
async def told(ctx: perdure.Context) -> str:
    return await ctx.signal("word", type_hint=str)


@desk.handler()
async def asks(ctx: perdure.Context) -> str:
    return await ctx.service_call(told)


@desk.handler()
async def fails(ctx: perdure.Context) -> None:
    def broken() -> None:
        raise ConnectionError("down")

    await ctx.run_typed("broken", broken)


@box.handler()
async def hold(ctx: perdure.ObjectContext) -> int:
    await ctx.signal("go", type_hint=bool)
    return await ctx.get("count", type_hint=int) or 0


@box.handler()
async def count(ctx: perdure.ObjectContext) -> int:
    ctx.set("count", (await ctx.get("count", type_hint=int) or 0) + 1)
    return await ctx.get("count", type_hint=int) or 0


@once.main()
async def run(ctx: perdure.WorkflowContext) -> str:
    return "ran"


SERVICES = [desk, box, once]


async def kinds(engine: Engine, invocation_id: bytes, *wanted: str) -> None:
    await until(lambda: [wait.kind for wait in engine.inspect(invocation_id).waits_for] == list(wanted))


# --- restart --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_restart_from_the_input_does_everything_again() -> None:
    async with running(SERVICES) as engine:
        old = await send(engine, "Desk/work", "Ann", idempotency_key="k")
        assert await result_of(engine, old) == ["Ann", "first 1", "last 1", "False"]
        new = await engine.restart(old)
        assert partition_key(new) == partition_key(old)
        row = row_of(engine, new)
        assert row.origin is not None
        assert (row.origin.kind, row.origin.invocation_id, row.idempotency_key) == ("restart_as_new", old, None)
        assert await result_of(engine, new) == ["Ann", "first 2", "last 2", "False"]
        assert len(drawn) == 2, "another seed"
        assert await result_of(engine, old) == ["Ann", "first 1", "last 1", "False"], "the old one stays"


@in_virtual_time
async def test_a_restart_from_a_prefix_replays_it_with_its_seed_also_after_a_crash(tmp_path: Path) -> None:
    engine = make_engine(SERVICES, tmp_path / "0")
    await engine.start()
    old = await send(engine, "Desk/work", "Ann")
    await result_of(engine, old)
    sleep = next(moment.index for moment in engine.inspect(old).timeline if moment.what == "sleep")
    new = await engine.restart(old, from_index=sleep)
    image(tmp_path / "0", tmp_path / "1")
    await abandon(engine)
    async with running(SERVICES, tmp_path / "1") as engine:
        began = engine.now_ms()
        result = await result_of(engine, new)
        assert result[:2] == ["Ann", "first 1"], "the step of the prefix did not run again"
        assert ran["first"] == 1
        assert engine.now_ms() - began < HOUR // 10, "the sleep of the prefix is over"
        assert len(drawn) == 1, "the same seed"


@in_virtual_time
async def test_what_cannot_be_restarted_says_why() -> None:
    async with running(SERVICES) as engine:

        async def refused(invocation_id: bytes, from_index: int = 0) -> int:
            with pytest.raises(ControlRefused) as caught:
                await engine.restart(invocation_id, from_index=from_index)
            return caught.value.refused_status

        waiting = await send(engine, "Desk/told")
        assert await refused(waiting) == 409
        later = await send(engine, "Desk/told", delay_ms=HOUR)
        assert await refused(later) == 425
        done = await send(engine, "Desk/work", "Ann")
        await result_of(engine, done)
        output = engine.inspect(done).timeline[-1].index or 0
        assert await refused(done, output + 1) == 400
        assert await refused(done, 99) == 400
        await engine.kill(waiting)
        caller = await send(engine, "Desk/asks")
        await kinds(engine, caller, "call")
        await engine.kill(caller)
        assert await refused(caller, 1) == 400, "the call was never answered"
        await engine.purge_journal(done)
        assert await refused(done) == 410
        await call(engine, "Once/k/run")
        (workflow,) = (await engine.invocations(Filter(service="Once"))).rows
        assert await refused(workflow.id) == 422
        with pytest.raises(InvocationNotFound):
            await engine.restart(bytes(24))


@in_virtual_time
async def test_a_purged_journal_leaves_the_result() -> None:
    async with running(SERVICES) as engine:
        waiting = await send(engine, "Desk/told")
        with pytest.raises(ControlRefused):
            await engine.purge_journal(waiting)
        await until_status(engine, waiting, Status.INVOKED)
        await engine.send_signal(waiting, "word", b'"hi"')
        assert await result_of(engine, waiting) == "hi"
        await engine.purge_journal(waiting)
        assert await result_of(engine, waiting) == "hi"
        assert engine.inspect(waiting).timeline == []


# --- signals --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_who_sends_a_signal_knows_that_it_was_told() -> None:
    async with running(SERVICES) as engine:
        for invocation_id, status in (
            (await send(engine, "Desk/told", delay_ms=HOUR), 425),
            ((await engine.invocations()).rows[0].id, 425),
        ):
            with pytest.raises(ControlRefused) as caught:
                await engine.send_signal(invocation_id, "word", b'"hi"')
            assert caught.value.refused_status == status
        with pytest.raises(InvocationNotFound):
            await engine.send_signal(bytes(24), "word", None)
        with pytest.raises(BadRequest):
            await engine.send_signal(bytes(24), "", None)
        early = await send(engine, "Desk/told")
        await engine.send_signal(early, "word", b'"first"')
        assert await result_of(engine, early) == "first"
        with pytest.raises(ControlRefused, match="completed"):
            await engine.send_signal(early, "word", b'"second"')


# --- state ----------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_state_from_outside_takes_its_turn_behind_the_holder_of_the_key() -> None:
    async with running(SERVICES) as engine:
        assert await engine.modify_state("Box", "k", {"count": b"10"})
        assert await call(engine, "Box/k/count") == 11
        holder = await send(engine, "Box/k/hold")
        assert not await engine.modify_state("Box", "k", {"count": b"20"})
        after = await send(engine, "Box/k/count")
        assert engine.state_of("Box", "k") == {"count": b"11"}
        assert engine.holder_of("Box", "k") == holder
        await engine.send_signal(holder, "go", b"true")
        assert await result_of(engine, holder) == 11, "the state does not change under a handler"
        assert await result_of(engine, after) == 21
        assert engine.holder_of("Box", "k") is None


@in_virtual_time
async def test_a_change_that_waits_survives_a_crash_and_minds_its_version(tmp_path: Path) -> None:
    engine = make_engine(SERVICES, tmp_path / "0", checkpoint_interval_ms=10)
    await engine.start()
    holder = await send(engine, "Box/k/hold")
    await engine.modify_state("Box", "k", {"count": b"20"}, state_version({}))
    await engine.modify_state("Box", "k", {"count": b"30"}, state_version({}))
    await until(lambda: engine.store.applied_lsn == engine.applied_lsn)
    image(tmp_path / "0", tmp_path / "1")
    await abandon(engine)
    async with running(SERVICES, tmp_path / "1") as engine:
        await engine.kill(holder)
        assert engine.state_of("Box", "k") == {"count": b"20"}, "the second was made for another state"


@in_virtual_time
async def test_state_that_cannot_be_given() -> None:
    async with running(SERVICES) as engine:
        with pytest.raises(BadRequest, match="Cannot modify state for service type Service"):
            await engine.modify_state("Desk", "k", {})
        with pytest.raises(ServiceNotFound):
            await engine.modify_state("Nope", "k", {})
        with pytest.raises(BadRequest, match="bytes"):
            await engine.modify_state("Box", "k", {"large": bytes(40 * 1024 * 1024)})
        await send(engine, "Box/k/hold")
        for _ in range(STATE_CHANGES_WAITING_MAX):
            await engine.modify_state("Box", "k", {})
        with pytest.raises(Overloaded):
            await engine.modify_state("Box", "k", {})


# --- looking --------------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_pages_go_from_the_newest_to_the_oldest_and_miss_nothing(tmp_path: Path) -> None:
    async with running(SERVICES, tmp_path, partitions=3, checkpoint_interval_ms=500) as engine:
        made = []
        for number in range(40):
            made.append(await send(engine, f"Box/{number}/{'hold' if number % 4 else 'count'}"))
            await asyncio.sleep(0.1)
        seen: list[bytes] = []
        after = None
        while True:
            page = await engine.invocations(limit=7, after=after)
            seen += [row.id for row in page.rows]
            after = page.after
            if after is None:
                break
            await send(engine, "Desk/told")  # what comes meanwhile does not move the pages
        assert seen == made[::-1]
        held = await engine.invocations(Filter(frozenset({"open"}), "Box", "hold"), limit=1000)
        assert [row.id for row in held.rows] == [each for at, each in enumerate(made) if at % 4][::-1]
        done = await engine.invocations(Filter(frozenset({"succeeded"}), key="8"))
        assert [row.id for row in done.rows] == [made[8]]
        assert (await engine.invocations(Filter(frozenset({"failed"})))).rows == []


@in_virtual_time
async def test_one_request_looks_at_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SLICE_ROWS", 5)
    monkeypatch.setattr(inspection, "ROWS_PER_REQUEST", 10)
    async with running(SERVICES) as engine:
        first = await send(engine, "Box/rare/count")
        for _ in range(60):
            await send(engine, "Desk/told")
        pages, after = 0, None
        while True:
            page = await engine.invocations(Filter(key="rare"), after=after)
            pages += 1
            if page.after is None:
                break
            assert page.rows == []
            after = page.after
        assert [row.id for row in page.rows] == [first]
        assert pages > 3


@in_virtual_time
async def test_a_list_that_makes_no_sense_is_refused() -> None:
    async with running(SERVICES) as engine:
        with pytest.raises(BadRequest, match="unknown status 'asleep'"):
            await engine.invocations(Filter(frozenset({"asleep"})))
        for limit in (0, 1001):
            with pytest.raises(BadRequest, match="limit"):
                await engine.invocations(limit=limit)
        for after in ("x", "kQ", "ä", "kwECAw"):
            with pytest.raises(BadRequest, match="bad cursor"):
                await engine.invocations(after=after)


@in_virtual_time
async def test_what_each_waits_for() -> None:
    async with running(SERVICES, inactivity_timeout_ms=5_000) as engine:
        later = await send(engine, "Desk/told", delay_ms=HOUR)
        assert [wait.until_ms for wait in engine.inspect(later).waits_for] == [row_of(engine, later).execute_at_ms]
        holder, waiting = await send(engine, "Box/k/hold"), await send(engine, "Box/k/count")
        (wait,) = engine.inspect(waiting).waits_for
        assert (wait.kind, wait.invocation_id) == ("key", format_invocation_id(holder))
        caller = await send(engine, "Desk/asks")
        await kinds(engine, caller, "call")
        (wait,) = engine.inspect(caller).waits_for
        assert wait.text == "call Desk/told"
        callee = next(row for row in (await engine.invocations()).rows if row.origin and row.origin.kind == "service")
        assert wait.invocation_id == format_invocation_id(callee.id)
        await kinds(engine, callee.id, "signal")
        assert row_of(engine, callee.id).status is Status.INVOKED, "told by the attempt in memory"
        await until_status(engine, callee.id, Status.SUSPENDED)
        await kinds(engine, callee.id, "signal")
        sleeper = await send(engine, "Desk/work", "Ann")
        await kinds(engine, sleeper, "sleep")
        broken = await send(engine, "Desk/fails")
        await kinds(engine, broken, "retry")
        assert "down" in engine.inspect(broken).waits_for[0].text
        await engine.pause(broken)
        await kinds(engine, broken, "person")
        assert "down" in engine.inspect(broken).waits_for[0].text
        await engine.kill(broken)
        assert engine.inspect(broken).waits_for == []


@in_virtual_time
async def test_a_timeline_says_how_long_things_took_and_how_they_failed() -> None:
    async with running(SERVICES) as engine:
        done = await send(engine, "Desk/work", "Ann")
        await result_of(engine, done)
        moments = {moment.what: moment for moment in engine.inspect(done).timeline}
        assert moments["sleep"].took_ms == pytest.approx(600_000, abs=100)
        assert {moment.state for moment in moments.values()} == {"done"}
        broken = await send(engine, "Desk/fails")
        await until(lambda: any(each.failed_tries >= 3 for each in engine.inspect(broken).timeline))
        step, *attempts = engine.inspect(broken).timeline[1:]
        assert (step.what, step.subject, step.state) == ("run", "broken", "open")
        assert step.error is not None
        assert step.error.message == "ConnectionError: down"
        assert [(each.what, each.subject, each.index, each.error) for each in attempts] == [
            ("attempt", "broken", None, step.error)
        ], "the same error stands there once"
        await engine.pause(broken)
        pause = engine.inspect(broken).timeline[-1]
        assert (pause.what, pause.state, pause.error) == ("pause", "failed", step.error)
        caller = await send(engine, "Desk/asks")
        await kinds(engine, caller, "call")
        await engine.cancel(caller)
        await until_status(engine, caller, Status.COMPLETED)
        told = engine.inspect(caller).timeline
        assert [moment.state for moment in told if moment.what in ("cancellation", "call", "output")].count(
            "failed"
        ) >= 1
        assert any(moment.what == "cancellation" for moment in told)
        assert told[-1].error is not None
        assert told[-1].error.code == 409
