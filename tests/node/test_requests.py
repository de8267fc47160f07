"""What an engine is asked: idempotent and delayed requests, attach and output, control of one invocation (req 4.23)."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

import perdure
from perdure.node.engine import Engine
from perdure.node.errors import BadRequest, ControlRefused, HandlerNotFound, InvocationNotFound, ServiceNotFound
from perdure.store.rows import Status

from .rig import abandon, call, image, make_engine, request, result_of, row_of, running, send, until_status, value
from .virtual import DAY, HOUR, in_virtual_time

shop = perdure.Service("Shop")
thing = perdure.VirtualObject("Thing")
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@shop.handler()
async def charge(ctx: perdure.Context, amount: int) -> int:
    async def body() -> int:
        ran["charge"] += 1
        await asyncio.sleep(5)
        if amount < 0:
            raise perdure.TerminalError("refused", 402)
        return amount

    return await ctx.run_typed("charge", body)


@shop.handler()
async def waits(ctx: perdure.Context) -> str:
    try:
        return await ctx.awakeable(type_hint=str)[1]
    except perdure.TerminalError as error:
        ran["undone"] += 1
        raise error


@shop.handler()
async def parent(ctx: perdure.Context) -> str:
    return await ctx.service_call(waits)


@thing.handler()
async def hold(ctx: perdure.ObjectContext) -> str:
    return await ctx.awakeable(type_hint=str)[1]


SERVICES = [shop, thing]


@in_virtual_time
async def test_the_same_key_twice_at_once_is_one_execution() -> None:
    async with running(SERVICES) as engine:
        asked = request("Shop/charge", 7, idempotency_key="k")
        outcomes = await asyncio.gather(*[engine.call(asked) for _ in range(5)])
        assert {outcome.invocation_id for outcome in outcomes} == {outcomes[0].invocation_id}
        assert [value(outcome.result) for outcome in outcomes] == [7] * 5
        assert ran["charge"] == 1


@in_virtual_time
async def test_the_same_key_after_completion_gets_the_stored_result_and_when_it_expires() -> None:
    async with running(SERVICES, idempotency_retention_ms=HOUR, cleanup_interval_ms=60_000) as engine:
        asked = request("Shop/charge", -1, idempotency_key="k")
        first = await engine.call(asked)
        assert (value(first.result), first.expires_at_ms) == ((402, "refused"), 0)
        second = await engine.call(asked)
        assert value(second.result) == (402, "refused"), "failures are stored results too"
        assert second.expires_at_ms == row_of(engine, first.invocation_id).completed_at_ms + HOUR
        assert (await engine.send(asked)).duplicate
        assert ran["charge"] == 1
        await asyncio.sleep(4_000)
        assert (await engine.call(asked)).expires_at_ms == 0
        assert ran["charge"] == 2, "after its retention the key is new"


@in_virtual_time
async def test_the_same_key_after_a_crash_joins_what_runs_and_finds_what_has_ended(tmp_path: Path) -> None:
    asked = request("Shop/charge", 7, idempotency_key="k")
    engine = make_engine(SERVICES, tmp_path / "0")
    await engine.start()
    sent = await engine.send(asked)
    await asyncio.sleep(1)
    image(tmp_path / "0", tmp_path / "1")
    await abandon(engine)
    engine = make_engine(SERVICES, tmp_path / "1")
    await engine.start()
    joined = await engine.call(asked)
    assert (joined.invocation_id, value(joined.result)) == (sent.invocation_id, 7)
    image(tmp_path / "1", tmp_path / "2")
    await abandon(engine)
    async with running(SERVICES, tmp_path / "2") as engine:
        found = await engine.call(asked)
        assert (found.invocation_id, value(found.result)) == (sent.invocation_id, 7)
        assert found.expires_at_ms > 0
    assert ran["charge"] == 2, "once in each of the first two lives: the crash came before its result"


@in_virtual_time
async def test_a_delayed_send_runs_at_its_time_also_over_a_restart(tmp_path: Path) -> None:
    async with running(SERVICES, tmp_path) as engine:
        accepted = await engine.send(request("Shop/charge", 7, delay_ms=DAY // 4))
        assert accepted.execute_at_ms == row_of(engine, accepted.invocation_id).created_at_ms + DAY // 4
        assert row_of(engine, accepted.invocation_id).status is Status.SCHEDULED
        assert await engine.output(accepted.invocation_id) is None
    async with running(SERVICES, tmp_path) as engine:
        assert await result_of(engine, accepted.invocation_id) == 7
        row = row_of(engine, accepted.invocation_id)
        assert row.started_at_ms - row.created_at_ms == pytest.approx(DAY // 4, abs=100)


@in_virtual_time
async def test_attach_and_output() -> None:
    async with running(SERVICES) as engine:
        invocation_id = await send(engine, "Shop/charge", 7)
        assert await engine.output(invocation_id) is None
        assert value((await engine.attach(invocation_id)).result) == 7
        outcome = await engine.output(invocation_id)
        assert outcome is not None
        assert value(outcome.result) == 7
        for ask in (engine.attach(bytes(24)), engine.output(bytes(24))):
            with pytest.raises(InvocationNotFound):
                await ask


@in_virtual_time
async def test_a_caller_that_goes_away_stops_nothing() -> None:
    async with running(SERVICES) as engine:
        calling = asyncio.create_task(engine.call(request("Shop/charge", 7, idempotency_key="k")))
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        assert engine.stats()["callers"] == 0
        assert await call(engine, "Shop/charge", 7, idempotency_key="k") == 7
        assert ran["charge"] == 1


@in_virtual_time
async def test_requests_that_fit_no_handler_are_refused_and_leave_nothing() -> None:
    async with running(SERVICES) as engine:
        refused = [
            ("Nothing/charge", ServiceNotFound),
            ("Shop/nothing", HandlerNotFound),
            ("Shop/key/charge", BadRequest),
            ("Thing/hold", BadRequest),
        ]
        for path, error in refused:
            with pytest.raises(error):
                await call(engine, path, 1)
        with pytest.raises(ValueError, match="int"):
            await call(engine, "Shop/charge", "no number")
        assert engine.stats()["invocations"] == 0


async def refused(asking: object, status: int) -> None:
    with pytest.raises(ControlRefused) as caught:
        await asking  # type: ignore[misc]
    assert caught.value.refused_status == status


async def one_of_each(engine: Engine) -> dict[Status, bytes]:
    """An invocation in every status."""
    found = {
        Status.COMPLETED: await send(engine, "Shop/charge", 1),
        Status.SCHEDULED: await send(engine, "Shop/charge", 1, delay_ms=DAY),
        Status.INVOKED: await send(engine, "Thing/k/hold"),
        Status.INBOXED: await send(engine, "Thing/k/hold"),
        Status.SUSPENDED: await send(engine, "Shop/waits"),
        Status.PAUSED: await send(engine, "Shop/waits"),
    }
    await result_of(engine, found[Status.COMPLETED])
    await engine.pause(found[Status.PAUSED])
    await until_status(engine, found[Status.SUSPENDED], Status.SUSPENDED)
    await engine.resume(found[Status.INVOKED])
    for status, invocation_id in found.items():
        assert row_of(engine, invocation_id).status is status
    return found


@in_virtual_time
async def test_cancel_in_every_status() -> None:
    async with running(SERVICES) as engine:
        found = await one_of_each(engine)
        assert await engine.cancel(found[Status.SCHEDULED])
        assert await engine.cancel(found[Status.INBOXED])
        for status in (Status.INVOKED, Status.SUSPENDED, Status.PAUSED):
            assert not await engine.cancel(found[status])
        await refused(engine.cancel(found[Status.COMPLETED]), 409)
        with pytest.raises(InvocationNotFound):
            await engine.cancel(bytes(24))
        for status in (Status.SCHEDULED, Status.INBOXED):
            assert engine.find(found[status]) is None, "of what never started nothing stays"
        for status in (Status.INVOKED, Status.SUSPENDED, Status.PAUSED):
            assert await result_of(engine, found[status]) == (409, "cancelled")
        assert ran["undone"] == 2


@in_virtual_time
async def test_kill_in_every_status() -> None:
    async with running(SERVICES) as engine:
        found = await one_of_each(engine)
        await refused(engine.kill(found.pop(Status.COMPLETED)), 409)
        for status, invocation_id in found.items():
            await engine.kill(invocation_id)
            if status is Status.SCHEDULED:  # who was inboxed has the key by now
                assert engine.find(invocation_id) is None, "of what never started nothing stays"
            else:
                assert await result_of(engine, invocation_id) == (409, "killed")
        with pytest.raises(InvocationNotFound):
            await engine.kill(bytes(24))
        assert ran["undone"] == 0, "no handler was asked"


@in_virtual_time
async def test_pause_and_resume_in_every_status() -> None:
    async with running(SERVICES) as engine:
        found = await one_of_each(engine)
        for status in (Status.SCHEDULED, Status.INBOXED):
            await refused(engine.pause(found[status]), 409)
            await refused(engine.resume(found[status]), 425)
        await refused(engine.pause(found[Status.COMPLETED]), 409)
        await refused(engine.resume(found[Status.COMPLETED]), 409)
        assert not await engine.pause(found[Status.PAUSED])
        for status in (Status.INVOKED, Status.SUSPENDED):
            assert await engine.pause(found[status])
            assert row_of(engine, found[status]).status is Status.PAUSED
        for status in (Status.INVOKED, Status.SUSPENDED, Status.PAUSED):
            await engine.signal(found[status], 17, b'"on"')
            assert row_of(engine, found[status]).status is Status.PAUSED, "a signal does not resume it"
            await engine.resume(found[status])
            assert await result_of(engine, found[status]) == "on"
        for ask in (engine.pause(bytes(24)), engine.resume(bytes(24))):
            with pytest.raises(InvocationNotFound):
                await ask


@in_virtual_time
async def test_purge_in_every_status() -> None:
    async with running(SERVICES) as engine:
        found = await one_of_each(engine)
        done = found.pop(Status.COMPLETED)
        for invocation_id in found.values():
            await refused(engine.purge(invocation_id), 409)
        await engine.purge(done)
        assert engine.find(done) is None
        with pytest.raises(InvocationNotFound):
            await engine.purge(done)


@pytest.mark.parametrize("partitions", [1, 4])
@in_virtual_time
async def test_cancelling_a_parent_cancels_its_child_and_killing_kills_it(partitions: int) -> None:
    async with running(SERVICES, partitions=partitions) as engine:
        cancelled = await send(engine, "Shop/parent")
        await until_status(engine, cancelled, Status.SUSPENDED)
        await engine.cancel(cancelled)
        assert await result_of(engine, cancelled) == (409, "cancelled")
        await asyncio.sleep(1)
        assert ran["undone"] == 1
        killed = await send(engine, "Shop/parent")
        await until_status(engine, killed, Status.SUSPENDED)
        await engine.kill(killed)
        await asyncio.sleep(1)
        alive = [
            row
            for tables in engine.store.tables
            for seq in range(1, tables.meta.next_seq)
            if (row := tables.invocation(seq)) is not None and row.status is not Status.COMPLETED
        ]
        assert alive == []
        assert ran["undone"] == 1
