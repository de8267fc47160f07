"""State as a handler sees it: at once where it is known, by asking where it is not, and from the journal on replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure import Context, ObjectContext, ObjectSharedContext
from perdure.model.driver import Turn
from perdure.model.journal import (
    ClearAllState,
    ClearState,
    GetEagerState,
    GetEagerStateKeys,
    GetLazyState,
    GetLazyStateKeys,
    SetState,
)

from .driver import Script, drive, replayed


async def test_known_state_is_read_without_a_turn() -> None:
    async def handler(ctx: ObjectContext) -> list[object]:
        future = ctx.get("count", type_hint=int)
        assert future.done()
        return [await future, await ctx.get("none"), await ctx.get("none", default=5), await ctx.state_keys()]

    driver = drive(handler, key="k", script=Script(state={"count": b"3"}))
    assert driver.output == b'[3,null,5,["count"]]'
    assert driver.journal[1:-1] == [
        GetEagerState("count", b"3"),
        GetEagerState("none", None),
        GetEagerState("none", None),
        GetEagerStateKeys(["count"]),
    ]


async def test_unknown_state_is_asked_for_once() -> None:
    async def handler(ctx: ObjectContext) -> list[object]:
        first = ctx.get("count", type_hint=int)
        assert not first.done()
        return [await first, await ctx.get("count"), await ctx.get("none", default="d"), await ctx.state_keys()]

    driver = drive(handler, key="k", script=Script(state={"count": b"3"}, partial=True))
    assert driver.output == b'[3,3,"d",["count"]]'
    reads = [
        type(entry) for entry in driver.journal if isinstance(entry, (GetLazyState, GetEagerState, GetLazyStateKeys))
    ]
    assert reads == [GetLazyState, GetEagerState, GetLazyState, GetLazyStateKeys]
    assert replayed(driver).output == driver.output


@pytest.mark.parametrize("partial", [False, True])
async def test_reads_see_what_the_handler_wrote(partial: bool) -> None:
    async def handler(ctx: ObjectContext) -> list[object]:
        seen: list[object] = []
        ctx.set("a", 1)
        seen.append(await ctx.get("a"))
        ctx.clear("a")
        seen.append(await ctx.get("a"))
        ctx.set("b", {"x": 1})
        ctx.clear_all()
        seen.append(await ctx.get("old"))
        ctx.set("c", 2, entry_name="named")
        seen.append(await ctx.state_keys())
        return seen

    driver = drive(handler, key="k", script=Script(state={"old": b"1"}, partial=partial))
    assert driver.output == b'[1,null,null,["c"]]'
    writes = [entry for entry in driver.journal if isinstance(entry, (SetState, ClearState, ClearAllState))]
    assert writes == [
        SetState("a", b"1"),
        ClearState("a"),
        SetState("b", b'{"x":1}'),
        ClearAllState(),
        SetState("c", b"2", "named"),
    ]
    assert replayed(driver).output == driver.output


async def test_a_read_before_a_write_reads_the_same_on_replay() -> None:
    """The state of a later attempt holds the write already; the journal knows what was read."""

    async def handler(ctx: ObjectContext) -> int:
        count = await ctx.get("count", type_hint=int, default=0)
        ctx.set("count", count + 1)
        await ctx.run("step", lambda: None)
        return count

    driver = drive(handler, key="k", script=Script(state={"count": b"7"}), run=False)
    driver.crash_at = 4
    driver.run()
    assert driver.current_state() == {"count": b"8"}
    driver.crash_at = None
    assert driver.run() is Turn.ENDED
    assert driver.output == b"7"
    assert driver.current_state() == {"count": b"8"}


async def test_a_late_answer_does_not_undo_a_write() -> None:
    async def handler(ctx: ObjectContext) -> list[object]:
        old = ctx.get("a")
        ctx.set("a", "new")
        return [await old, await ctx.get("a")]

    driver = drive(handler, key="k", script=Script(state={"a": b'"old"'}, partial=True))
    assert driver.output == b'["old","new"]'


async def test_a_shared_handler_reads_and_does_not_write() -> None:
    async def handler(ctx: ObjectSharedContext) -> int:
        count = await ctx.get("count", type_hint=int)
        ctx.set("count", 1)  # type: ignore[attr-defined]
        return count or 0

    driver = drive(handler, key="k", shared=True, script=Script(state={"count": b"3"}))
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None and "PD0410" in driver.error.message


@pytest.mark.parametrize("use", [lambda ctx: ctx.get("a"), lambda ctx: ctx.set("a", 1), lambda ctx: ctx.clear_all()])
async def test_a_plain_service_has_no_state(use: Callable[[Any], object]) -> None:
    async def handler(ctx: Context) -> None:
        use(ctx)

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None
    assert "PD0410: S/h has no key" in driver.error.message and "VirtualObject" in driver.error.message


async def test_typed_state() -> None:
    import msgspec

    class Seat(msgspec.Struct):
        row: int

    async def handler(ctx: ObjectContext) -> int:
        seat = await ctx.get("seat", type_hint=Seat)
        assert isinstance(seat, Seat)
        ctx.set("seat", Seat(seat.row + 1))
        again = await ctx.get("seat", type_hint=Seat)
        assert again is not None
        return again.row

    assert drive(handler, key="k", script=Script(state={"seat": b'{"row":1}'})).output == b"2"


async def test_a_value_that_no_longer_fits_fails_the_attempt_by_name() -> None:
    async def handler(ctx: ObjectContext) -> object:
        return await ctx.get("count", type_hint=int)

    driver = drive(handler, key="k", script=Script(state={"count": b'"three"'}))
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None
    assert "PD0406" in driver.error.message and "state count" in driver.error.message
