"""When something was recorded: never before it was there."""

from __future__ import annotations

import asyncio

import pytest

import perdure
from perdure.model.journal import Completion

from ..node.rig import log_of, result_of, running, send
from ..node.virtual import in_virtual_time

dated = perdure.Service("Dated")
ended: list[float] = []


@dated.handler()
async def step(ctx: perdure.Context, seconds: float) -> str:
    async def body() -> str:
        await asyncio.sleep(seconds)
        ended.append(asyncio.get_running_loop().time())
        return "done"

    return await ctx.run_typed("step", body)


@pytest.mark.parametrize("seconds", [0.001, 0.004, 0.006, 0.008, 0.02])
@in_virtual_time
async def test_a_result_is_not_recorded_before_its_step_has_ended(seconds: float) -> None:
    # A step's command may already wait in the pending batch when its result comes: the result gets a date of its own.
    async with running([dated]) as engine:
        began_ms = engine.now_ms() - asyncio.get_running_loop().time() * 1000
        await result_of(engine, await send(engine, "Dated/step", seconds))
        recorded = [
            record.at_ms
            for record in log_of(engine)
            for entry in getattr(record, "entries", ())
            if isinstance(entry, Completion)
        ]
        assert len(recorded) == 1
        assert recorded[0] >= int(began_ms + ended[-1] * 1000)
