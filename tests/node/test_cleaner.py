"""Retention: how long what is kept of finished invocations, and that nothing else is ever touched."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

import perdure
from perdure.model.ids import parse_invocation_id
from perdure.node.errors import InvocationNotFound
from perdure.store.rows import Status

from .rig import call, request, row_of, running, send, until, until_status, value
from .virtual import DAY, HOUR, in_virtual_time

kept = perdure.Service("Kept")
process = perdure.Workflow("Process")


@kept.handler()
async def by_default(ctx: perdure.Context, size: int) -> str:
    async def body() -> str:
        return "x" * size

    await ctx.run_typed("payload", body)
    return "done"


@kept.handler(idempotency_retention=timedelta(hours=1))
async def an_hour(ctx: perdure.Context) -> str:
    return "done"


@kept.handler(idempotency_retention=timedelta(0))
async def not_at_all(ctx: perdure.Context) -> str:
    return "done"


@kept.handler(journal_retention=timedelta(hours=1), idempotency_retention=timedelta(hours=5))
async def two_stages(ctx: perdure.Context) -> str:
    return "done"


@kept.handler()
async def sends(ctx: perdure.Context) -> str:
    return await ctx.service_send(two_stages, None).invocation_id()


@process.main()
async def run(ctx: perdure.WorkflowContext) -> str:
    return "done"


@process.handler(journal_retention=timedelta(hours=1))
async def asks(ctx: perdure.WorkflowSharedContext) -> str:
    return "done"


@kept.handler()
async def waits(ctx: perdure.Context) -> str:
    return await ctx.awakeable(type_hint=str)[1]


@in_virtual_time
async def test_each_handler_keeps_for_its_own_time() -> None:
    async with running([kept], cleanup_interval_ms=60_000, idempotency_retention_ms=3 * HOUR) as engine:
        first, second = await send(engine, "Kept/by_default", 1), await send(engine, "Kept/an_hour")
        await until_status(engine, second, Status.COMPLETED)
        assert row_of(engine, second).expires_at_ms - row_of(engine, second).completed_at_ms == HOUR
        await asyncio.sleep(3_500)
        assert engine.find(second) is not None
        await asyncio.sleep(300)
        assert engine.find(second) is None
        with pytest.raises(InvocationNotFound):
            await engine.output(second)
        assert engine.find(first) is not None
        await asyncio.sleep(7_200)
        assert engine.find(first) is None
        assert engine.stats()["finished_kept"] == engine.stats()["finished_bytes"] == 0


@in_virtual_time
async def test_zero_keeps_nothing_and_the_caller_still_gets_the_result() -> None:
    async with running([kept]) as engine:
        outcome = await engine.call(request("Kept/not_at_all"))
        assert value(outcome.result) == "done"
        assert engine.find(outcome.invocation_id) is None


@in_virtual_time
async def test_the_journal_goes_first_and_the_result_later() -> None:
    async with running([kept], cleanup_interval_ms=60_000) as engine:
        outcome = await engine.call(request("Kept/two_stages", idempotency_key="k"))
        assert len(engine.describe(outcome.invocation_id)[1].entries) == 2
        await asyncio.sleep(2 * 3_600)
        row, chunk = engine.describe(outcome.invocation_id)
        assert (row.status, chunk.entries) == (Status.COMPLETED, [])
        again = await engine.call(request("Kept/two_stages", idempotency_key="k"))
        assert (again.invocation_id, value(again.result)) == (outcome.invocation_id, "done")
        await asyncio.sleep(4 * 3_600)
        assert engine.find(outcome.invocation_id) is None


@in_virtual_time
async def test_from_outside_every_request_counts_as_idempotent_but_of_a_workflow() -> None:
    def retention(invocation_id: bytes) -> tuple[int, int]:
        row = row_of(engine, invocation_id)
        return row.completion_retention_ms // HOUR, row.journal_retention_ms // HOUR

    async with running([kept, process], journal_retention_ms=9 * HOUR, idempotency_retention_ms=7 * HOUR) as engine:
        outside = await send(engine, "Kept/two_stages")
        await until_status(engine, outside, Status.COMPLETED)
        inside = parse_invocation_id(await call(engine, "Kept/sends"))
        assert retention(outside) == (5, 1)
        assert retention(inside) == (1, 1)
        assert retention(await engine.restart(outside)) == (5, 1)
        assert retention(await send(engine, "Kept/by_default", 1)) == (7, 7), "no journal outlives the result"
        assert retention(await send(engine, "Process/key/asks")) == (1, 1)
        assert retention(await send(engine, "Process/key/asks", idempotency_key="k")) == (7, 1)


@in_virtual_time
async def test_a_bound_in_bytes_drops_the_oldest_first_and_never_a_live_one() -> None:
    async with running([kept], cleanup_interval_ms=1_000, retention_bytes_max=50_000) as engine:
        live = await send(engine, "Kept/waits")
        outcomes = [await engine.call(request("Kept/by_default", 10_000)) for _ in range(20)]
        await until(lambda: engine.stats()["finished_bytes"] <= 50_000)
        left = [engine.find(outcome.invocation_id) is not None for outcome in outcomes]
        assert left == sorted(left), "the oldest are gone"
        assert True in left
        assert False in left
        assert row_of(engine, live).status is not Status.COMPLETED


@pytest.mark.slow
@in_virtual_time
async def test_live_ones_of_any_age_stay() -> None:
    async with running([kept], cleanup_interval_ms=60_000, idempotency_retention_ms=1_000) as engine:
        live = await send(engine, "Kept/waits")
        delayed = await send(engine, "Kept/by_default", 1, delay_ms=DAY)
        await asyncio.sleep(20 * 3_600)
        assert row_of(engine, live).status is Status.SUSPENDED
        assert row_of(engine, delayed).status is Status.SCHEDULED
        await engine.kill(live)


@in_virtual_time
async def test_many_are_forgotten_in_slices_and_over_a_restart(tmp_path: Path) -> None:
    async with running([kept], tmp_path, idempotency_retention_ms=60_000, cleanup_interval_ms=1_000_000) as engine:
        await asyncio.gather(*[call(engine, "Kept/by_default", 1) for _ in range(1_200)])
        assert engine.stats()["finished_kept"] == 1_200
    await asyncio.sleep(120)
    async with running([kept], tmp_path, cleanup_interval_ms=1_000) as engine:
        await until(lambda: engine.stats()["finished_kept"] == 0, within_s=5)
