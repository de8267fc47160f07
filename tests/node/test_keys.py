"""Virtual objects: one at a time per key, in the order of acceptance, through crashes (req 4.04, 4.41)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import perdure
from perdure.node.engine import Engine
from perdure.node.errors import Overloaded
from perdure.store.rows import Status

from .rig import abandon, call, image, make_engine, result_of, row_of, running, send, until
from .virtual import in_virtual_time

ledger = perdure.VirtualObject("Ledger")
inside: dict[str, int] = {}


@pytest.fixture(autouse=True)
def fresh() -> None:
    inside.clear()


@ledger.handler()
async def append(ctx: perdure.ObjectContext, entry: int) -> int:
    entries = await ctx.get("entries", type_hint=list) or []
    await asyncio.sleep(0.001)
    ctx.set("entries", [*entries, entry])
    return len(entries) + 1


@ledger.handler()
async def count(ctx: perdure.ObjectContext) -> int:
    inside[ctx.key()] = inside.get(ctx.key(), 0) + 1
    assert inside[ctx.key()] == 1, "two at once"
    before = await ctx.get("count", type_hint=int) or 0

    async def think() -> int:
        await asyncio.sleep(0.01)
        return before + 1

    after = await ctx.run_typed("think", think)
    ctx.set("count", after)
    inside[ctx.key()] -= 1
    return after


@ledger.handler(kind="shared")
async def read(ctx: perdure.ObjectSharedContext) -> list[int]:
    return await ctx.get("entries", type_hint=list) or []


@ledger.handler(kind="shared")
async def meet(ctx: perdure.ObjectSharedContext, number: int) -> int:
    async def together() -> int:
        inside["meet"] = inside.get("meet", 0) + 1
        await asyncio.sleep(1)
        return inside["meet"]

    return await ctx.run_typed("meet", together)


@ledger.handler()
async def holds(ctx: perdure.ObjectContext) -> str:
    return await ctx.awakeable(type_hint=str)[1]


@pytest.mark.slow
@in_virtual_time
async def test_a_thousand_sends_to_a_key_run_in_accepted_order_across_crashes(tmp_path: Path) -> None:
    engine = make_engine([ledger], tmp_path / "0")
    await engine.start()
    last = b""
    for entry in range(1_000):
        last = await send(engine, "Ledger/k/append", entry)
    for crash in range(1, 4):
        done = 250 * crash
        await until(lambda: len(entries_of(engine)) >= done)  # noqa: B023
        image(tmp_path / str(crash - 1), tmp_path / str(crash))
        await abandon(engine)
        engine = make_engine([ledger], tmp_path / str(crash))
        await engine.start()
        assert len(entries_of(engine)) < 1_000, "the crash came in the middle"
    assert await result_of(engine, last) == 1_000
    assert entries_of(engine) == list(range(1_000))
    await abandon(engine)


def entries_of(engine: Engine) -> list[int]:
    stored = engine.store.tables[0].state_value("Ledger", "k", "entries")
    entries: list[int] = json.loads(stored) if stored else []
    return entries


@in_virtual_time
async def test_a_hundred_concurrent_increments_make_a_hundred() -> None:
    async with running([ledger]) as engine:
        answers = await asyncio.gather(*[call(engine, "Ledger/k/count") for _ in range(100)])
        assert sorted(answers) == list(range(1, 101))


@in_virtual_time
async def test_keys_do_not_wait_for_each_other() -> None:
    async with running([ledger]) as engine:
        held = await send(engine, "Ledger/a/holds")
        waiting = await send(engine, "Ledger/a/append", 1)
        assert await call(engine, "Ledger/b/append", 1) == 1
        assert row_of(engine, waiting).status is Status.INBOXED
        await engine.signal(held, 17, b'"go on"')
        assert await result_of(engine, waiting) == 1


@in_virtual_time
async def test_shared_handlers_run_beside_each_other_and_beside_the_exclusive_one() -> None:
    async with running([ledger]) as engine:
        held = await send(engine, "Ledger/k/holds")
        assert await asyncio.gather(*[call(engine, "Ledger/k/meet", n) for n in range(10)]) == [10] * 10
        assert await call(engine, "Ledger/k/read") == []
        assert row_of(engine, held).status in (Status.INVOKED, Status.SUSPENDED)
        await engine.kill(held)


@in_virtual_time
async def test_the_inbox_of_a_key_is_bounded() -> None:
    async with running([ledger], inbox_length_max=3) as engine:
        held = await send(engine, "Ledger/k/holds")
        for entry in range(3):
            await send(engine, "Ledger/k/append", entry)
        with pytest.raises(Overloaded, match="wait for Ledger/k already"):
            await send(engine, "Ledger/k/append", 3)
        await engine.kill(held)
        await until(lambda: len(entries_of(engine)) == 3)
        await send(engine, "Ledger/k/append", 3)


@in_virtual_time
async def test_a_repeated_request_joins_the_one_that_stands_in_a_full_inbox() -> None:
    async with running([ledger], inbox_length_max=1) as engine:
        held = await send(engine, "Ledger/k/holds")
        standing = await send(engine, "Ledger/k/append", 1, idempotency_key="once")
        assert await send(engine, "Ledger/k/append", 1, idempotency_key="once") == standing
        with pytest.raises(Overloaded):
            await send(engine, "Ledger/k/append", 1, idempotency_key="twice")
        await engine.kill(held)
