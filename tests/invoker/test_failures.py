"""What fails: under the invocation's policy, under a step's own, with a wish for the delay, for good."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.model import journal as j
from perdure.model.retry import RetryPolicy
from perdure.node.engine import Engine
from perdure.store.rows import Status

from ..node.rig import abandon, call, image, make_engine, result_of, row_of, running, send, until, until_status
from ..node.virtual import in_virtual_time

flaky = perdure.Service("Flaky")
tries: Counter[str] = Counter()
failing: set[str] = set()
QUICK = RetryPolicy(initial_interval_ms=1_000, factor=2.0, max_interval_ms=8_000, max_attempts=5)


@pytest.fixture(autouse=True)
def fresh() -> None:
    tries.clear()
    failing.clear()


def tried(name: str, delay_s: float = 0.0) -> Any:
    async def body() -> str:
        tries[name] += 1
        if delay_s:
            await asyncio.sleep(delay_s)
        if name in failing:
            raise ValueError(f"{name} is down")
        return name

    return body


@flaky.handler()
async def plain(ctx: perdure.Context) -> str:
    return await ctx.run_typed("a", tried("a"))


@flaky.handler()
async def steps_in_a_step(ctx: perdure.Context) -> None:
    await ctx.run_typed("outer", inner, perdure.RunOptions(), ctx)


@flaky.handler()
async def steps_in_a_step_with_a_policy(ctx: perdure.Context) -> None:
    await ctx.run_typed("outer", inner, perdure.RunOptions(max_attempts=1), ctx)


class Thing:
    """JSON has no form for it."""


def a_thing() -> Any:
    tries["a thing"] += 1
    return Thing()


@flaky.handler()
async def result_is_a_thing(ctx: perdure.Context) -> Any:
    return a_thing()


@flaky.handler()
async def step_gives_a_thing(ctx: perdure.Context) -> None:
    await ctx.run_typed("thing", a_thing, perdure.RunOptions(max_attempts=1))


@flaky.handler()
async def not_awaited(ctx: perdure.Context) -> Any:
    tries["a thing"] += 1
    return ctx.run_typed("a", tried("a"))


@flaky.handler()
async def writes_state(ctx: perdure.Context) -> None:
    tries["a thing"] += 1
    ctx.set("a", 1)  # type: ignore[attr-defined]


async def inner(ctx: perdure.Context) -> str:
    tries["in a step"] += 1
    return await ctx.run_typed("inner", tried("a"))


@flaky.handler()
async def attempts(ctx: perdure.Context) -> str:
    options: perdure.RunOptions[str] = perdure.RunOptions(max_attempts=4, initial_retry_interval=timedelta(seconds=1))
    try:
        return await ctx.run_typed("a", tried("a"), options)
    except perdure.TerminalError as error:
        return f"gave up: {error.message}"


@flaky.handler()
async def duration(ctx: perdure.Context) -> str:
    options: perdure.RunOptions[str] = perdure.RunOptions(
        max_duration=timedelta(seconds=10),
        initial_retry_interval=timedelta(seconds=4),
        retry_interval_factor=1.0,
    )
    try:
        return await ctx.run_typed("a", tried("a"), options)
    except perdure.TerminalError as error:
        return f"gave up: {error.message}"


@flaky.handler()
async def parallel(ctx: perdure.Context) -> list[str]:
    return list(await asyncio.gather(ctx.run_typed("a", tried("a")), ctx.run_typed("b", tried("b", 5.0))))


@flaky.handler()
async def beside(ctx: perdure.Context) -> str:
    """A step that fails while another branch keeps gaining entries."""
    options: perdure.RunOptions[str] = perdure.RunOptions(max_attempts=4, initial_retry_interval=timedelta(seconds=1))

    async def gain() -> None:
        for number in range(30):
            await ctx.run_typed(f"gain-{number}", tried(f"gain-{number}"))

    async with asyncio.TaskGroup() as group:
        group.create_task(gain())
        try:
            return await ctx.run_typed("a", tried("a"), options)
        except perdure.TerminalError:
            return "gave up"


@flaky.handler()
async def wishes(ctx: perdure.Context) -> str:
    async def body() -> str:
        tries["a"] += 1
        if tries["a"] == 1:
            raise perdure.RetryableError("not yet", retry_after=timedelta(minutes=7))
        return "now"

    return await ctx.run_typed("a", body)


@flaky.handler(invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=2))
async def wishes_often(ctx: perdure.Context, where: str) -> str:
    """Asks for its delay five times, which is more than it may fail."""

    def wish() -> None:
        tries["wish"] += 1
        if tries["wish"] <= 5:
            raise perdure.RetryableError("not yet", retry_after=timedelta(minutes=1))

    async def body() -> str:
        wish()
        return "now"

    if where == "in a step":
        return await ctx.run_typed("a", body)
    wish()
    return "now"


@flaky.handler()
async def both(ctx: perdure.Context) -> list[str]:
    """Two steps that fail in the same attempts, each with tries of its own."""
    three: perdure.RunOptions[str] = perdure.RunOptions(max_attempts=3, initial_retry_interval=timedelta(seconds=1))

    async def caught(name: str, delay_s: float) -> str:
        try:
            return await ctx.run_typed(name, tried(name, delay_s), three)
        except perdure.TerminalError:
            return f"gave up {name}"

    return list(await asyncio.gather(caught("a", 0), caught("b", 1)))


@flaky.handler(invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=1, on_max_attempts="kill"))
async def dies_with_others(ctx: perdure.Context) -> None:
    called = ctx.service_call(sleeps)
    ctx.service_send(sleeps)
    await called.invocation_id()
    raise ValueError("no more")


@flaky.handler()
async def sleeps(ctx: perdure.Context) -> None:
    await ctx.sleep(timedelta(hours=1))


@flaky.handler()
async def terminal(ctx: perdure.Context) -> str:
    async def body() -> str:
        tries["a"] += 1
        raise perdure.TerminalError("no such thing", 404)

    return await ctx.run_typed("a", body)


@flaky.handler()
async def raises(ctx: perdure.Context) -> str:
    tries["raises"] += 1
    raise ValueError("as always")


@flaky.handler(
    invocation_retry_policy=perdure.InvocationRetryPolicy(
        initial_interval=timedelta(seconds=1), max_attempts=3, on_max_attempts="kill"
    )
)
async def dies(ctx: perdure.Context) -> str:
    tries["dies"] += 1
    raise ValueError("as always")


@flaky.handler()
async def slow(ctx: perdure.Context) -> str:
    async def endless() -> str:
        try:
            await asyncio.sleep(3_600)
        finally:
            tries["left"] += 1
        return "late"

    both = await asyncio.gather(ctx.run_typed("a", tried("a")), ctx.run_typed("b", endless))
    return str(both[0])


def step_results_of(engine: Engine, invocation_id: bytes) -> list[Any]:
    _, chunk = engine.describe(invocation_id)
    return [e.result for e in chunk.entries if isinstance(e, j.Completion) and e.code == j.CompletionCode.RUN]


@in_virtual_time
async def test_a_failing_step_is_retried_with_growing_delays_under_the_invocations_policy() -> None:
    failing.add("a")
    async with running([flaky], default_retry=QUICK) as engine:
        began = asyncio.get_running_loop().time()
        invocation_id = await send(engine, "Flaky/plain")
        row = await until_status(engine, invocation_id, Status.PAUSED)
        took = asyncio.get_running_loop().time() - began
        assert tries["a"] == 5, "max_attempts counts all of them"
        assert 1 + 2 + 4 + 8 <= took <= (1 + 2 + 4 + 8) * 4 / 3 + 1
        assert row.last_error is not None
        assert row.last_error.message == "ValueError: a is down"
        assert (row.last_error.command_name, row.last_error.command_type) == ("a", "Run")
        failing.clear()
        await engine.resume(invocation_id)
        assert await result_of(engine, invocation_id) == "a"
        assert tries["a"] == 6


@in_virtual_time
async def test_a_step_with_attempts_of_its_own_ends_with_a_recorded_failure() -> None:
    failing.add("a")
    async with running([flaky], default_retry=RetryPolicy(max_attempts=2)) as engine:
        invocation_id = await send(engine, "Flaky/attempts")
        assert await result_of(engine, invocation_id) == "gave up: ValueError: a is down"
        assert tries["a"] == 4
        assert step_results_of(engine, invocation_id) == [j.Failure(500, "ValueError: a is down")]


@in_virtual_time
async def test_failed_tries_of_a_step_are_counted_over_restarts(tmp_path: Path) -> None:
    failing.add("a")
    data = tmp_path / "0"
    invocation_id = b""
    for restart in range(3):
        engine = make_engine([flaky], data)
        await engine.start()
        if restart == 0:
            invocation_id = await send(engine, "Flaky/attempts")
        await until(lambda: tries["a"] > restart and row_of(engine, invocation_id).retry_at_ms > 0)  # noqa: B023
        data = image(data, tmp_path / str(restart + 1))
        await abandon(engine)
    async with running([flaky], data) as engine:
        assert await result_of(engine, invocation_id) == "gave up: ValueError: a is down"
    assert tries["a"] == 4


@in_virtual_time
async def test_a_step_with_a_duration_of_its_own() -> None:
    failing.add("a")
    async with running([flaky]) as engine:
        began = asyncio.get_running_loop().time()
        assert await call(engine, "Flaky/duration") == "gave up: ValueError: a is down"
        assert 10 <= asyncio.get_running_loop().time() - began < 15
        assert tries["a"] == 4, "at 0, 4, 8 and 12 s"


@in_virtual_time
async def test_steps_beside_the_failing_one_finish_and_are_recorded() -> None:
    failing.add("a")
    async with running([flaky], default_retry=QUICK) as engine:
        invocation_id = await send(engine, "Flaky/parallel")
        await until(lambda: row_of(engine, invocation_id).retry_at_ms > 0)
        assert step_results_of(engine, invocation_id) == [b'"b"']
        failing.clear()
        assert await result_of(engine, invocation_id) == ["a", "b"]
        assert tries == {"a": 2, "b": 1}


@in_virtual_time
async def test_progress_of_others_does_not_give_a_step_more_tries() -> None:
    failing.add("a")
    async with running([flaky]) as engine:
        assert await call(engine, "Flaky/beside") == "gave up"
    assert tries["a"] == 4


@in_virtual_time
@pytest.mark.parametrize("handler", ["steps_in_a_step", "steps_in_a_step_with_a_policy"])
async def test_a_step_that_uses_the_context_pauses_its_invocation_at_once(handler: str) -> None:
    async with running([flaky]) as engine:
        invocation_id = await send(engine, f"Flaky/{handler}")
        row = await until_status(engine, invocation_id, Status.PAUSED)
        assert row.last_error is not None and "PD0412" in row.last_error.message
        assert (row.epoch, tries["in a step"]) == (1, 1)


@in_virtual_time
@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("result_is_a_thing", "The result of Flaky/result_is_a_thing (of type Thing) cannot be serialized"),
        ("step_gives_a_thing", "The result of the step 'thing' (of type Thing) cannot be serialized"),
        ("not_awaited", "a DurableFuture was not awaited. Await it"),
        ("writes_state", "PD0410: Flaky/writes_state has no key, and so no state"),
    ],
)
async def test_what_another_attempt_would_not_mend_pauses_the_invocation_at_once(handler: str, said: str) -> None:
    async with running([flaky]) as engine:
        invocation_id = await send(engine, f"Flaky/{handler}")
        row = await until_status(engine, invocation_id, Status.PAUSED)
        assert row.last_error is not None
        assert said in row.last_error.message and re.search("PD041[03]", row.last_error.message)
        assert (row.epoch, tries["a thing"]) == (1, 1)


@in_virtual_time
async def test_steps_that_do_not_end_are_left_at_the_abort_timeout() -> None:
    failing.add("a")
    async with running([flaky], abort_timeout_ms=60_000, default_retry=QUICK) as engine:
        began = asyncio.get_running_loop().time()
        invocation_id = await send(engine, "Flaky/slow")
        await until(lambda: row_of(engine, invocation_id).failures > 0)
        assert 60 <= asyncio.get_running_loop().time() - began < 80
        assert tries["left"] == 1, "the body was told"
        assert step_results_of(engine, invocation_id) == []


@in_virtual_time
async def test_an_error_may_ask_for_the_next_delay() -> None:
    async with running([flaky]) as engine:
        began = asyncio.get_running_loop().time()
        assert await call(engine, "Flaky/wishes") == "now"
        assert 420 <= asyncio.get_running_loop().time() - began < 421


@in_virtual_time
@pytest.mark.parametrize("where", ["in a step", "in the body"])
async def test_a_failure_that_asks_for_its_delay_does_not_count_as_an_attempt(where: str) -> None:
    async with running([flaky]) as engine:
        began = asyncio.get_running_loop().time()
        assert await call(engine, "Flaky/wishes_often", where) == "now"
        assert tries["wish"] == 6
        assert 300 <= asyncio.get_running_loop().time() - began < 301


@in_virtual_time
async def test_steps_that_fail_in_one_attempt_are_counted_each_for_itself() -> None:
    failing.update("ab")
    async with running([flaky]) as engine:
        assert await call(engine, "Flaky/both") == ["gave up a", "gave up b"]
        assert tries == {"a": 3, "b": 3}


@in_virtual_time
async def test_exhausted_with_kill_those_that_it_called_and_sent_end_too() -> None:
    async with running([flaky]) as engine:
        assert await call(engine, "Flaky/dies_with_others") == (500, "ValueError: no more")
        page = await engine.invocations()
        ended = {row.target.handler: row.result for row in page.rows}
        assert ended["sleeps"] == j.Failure(409, "killed")
        assert [row.status for row in page.rows] == [Status.COMPLETED] * 3


@in_virtual_time
async def test_a_terminal_error_is_the_result_at_once() -> None:
    async with running([flaky]) as engine:
        assert await call(engine, "Flaky/terminal") == (404, "no such thing")
        assert tries["a"] == 1


@in_virtual_time
async def test_exhausted_a_handler_is_paused_with_its_error_by_default() -> None:
    async with running([flaky], default_retry=QUICK) as engine:
        row = await until_status(engine, await send(engine, "Flaky/raises"), Status.PAUSED)
        assert tries["raises"] == 5
        assert row.last_error is not None
        assert row.last_error.message == "ValueError: as always"
        assert "raises" in row.last_error.stacktrace


@in_virtual_time
async def test_exhausted_a_handler_ends_with_its_last_error_if_its_policy_says_kill() -> None:
    async with running([flaky]) as engine:
        assert await call(engine, "Flaky/dies") == (500, "ValueError: as always")
        assert tries["dies"] == 3


@flaky.handler()
async def huge(ctx: perdure.Context, steps: int) -> int:
    async def body() -> str:
        tries["huge"] += 1
        await asyncio.sleep(1)
        return "x" * (1_200_000 // steps)

    return len(await asyncio.gather(*[ctx.run_typed(f"huge-{number}", body) for number in range(steps)]))


@in_virtual_time
async def test_a_record_that_the_log_cannot_hold_pauses_its_invocation_only(tmp_path: Path) -> None:
    async with running([flaky], tmp_path / "data") as engine:  # segments of 1 MiB
        row = await until_status(engine, await send(engine, "Flaky/huge", 1), Status.PAUSED)
        assert row.last_error is not None
        assert row.last_error.doc_code == "PD0107"
        assert tries["huge"] == 1
        assert await call(engine, "Flaky/plain") == "a"


@in_virtual_time
async def test_results_that_fit_alone_do_not_grow_one_record_beyond_what_fits(tmp_path: Path) -> None:
    async with running([flaky], tmp_path / "data") as engine:  # segments of 1 MiB
        assert await call(engine, "Flaky/huge", 2) == 2
        assert tries["huge"] == 2
