"""Steps: what reaches the engine, what comes back, and what is refused up front."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import Context, RetryableError, RunOptions, TerminalError
from perdure.model.driver import Step, Turn
from perdure.model.journal import Completion, Failure, Run
from perdure.model.retry import StepRetryPolicy
from perdure.sdk.errors import StepError
from perdure.sdk.serde import DEFAULT_SERDE
from perdure.sdk.steps import check_process_step

from .driver import ScriptedDriver, drive, replayed


@dataclass
class Point:
    x: int
    y: int


def plain(x: int, y: int = 0) -> Point:
    return Point(x, y)


async def waiting(x: int, y: int = 0) -> Point:
    await asyncio.sleep(0)
    return Point(x, y)


def one_step(
    function: Callable[..., Any], *args: Any, options: RunOptions[Any] | None = None
) -> tuple[ScriptedDriver, Step]:
    """The step that a handler registers, before it runs."""
    steps: list[Step] = []

    async def handler(ctx: Context) -> None:
        await ctx.run_typed("step", function, options or RunOptions(), *args)

    driver = drive(handler, run=False)
    attempt = driver.begin()
    driver.turn(attempt.start)
    steps.extend(driver._steps.values())
    attempt.close()
    return driver, steps[0]


@pytest.mark.parametrize(("function", "mode"), [(plain, "thread"), (waiting, "async")])
async def test_async_functions_run_on_the_loop_and_plain_ones_in_a_thread(function: Any, mode: str) -> None:
    _, step = one_step(function, 1)
    assert step.mode == mode
    assert step.name == "step" and step.completion_id == 1 and step.retry is None


async def test_the_result_is_decoded_by_the_functions_annotation() -> None:
    async def handler(ctx: Context) -> list[int]:
        first = await ctx.run_typed("plain", plain, RunOptions(), 1, y=2)
        second = await ctx.run("waiting", waiting, args=(3,))
        assert isinstance(first, Point) and isinstance(second, Point)
        third = await ctx.run("hinted", lambda: {"x": 5, "y": 6}, type_hint=Point)  # type: ignore[arg-type,return-value]
        assert isinstance(third, Point)
        fourth = await ctx.run("partial", functools.partial(plain, 7))
        assert isinstance(fourth, Point)
        return [first.y, second.x, third.x, fourth.x]

    driver = drive(handler)
    assert driver.output == b"[2,3,5,7]", driver.error
    assert replayed(driver).output == driver.output


async def test_bytes_and_none_and_own_serdes() -> None:
    from perdure.sdk.serde import Serde

    class Upper(Serde[str]):
        def serialize(self, obj: str | None) -> bytes:
            return (obj or "").upper().encode()

        def deserialize(self, buf: bytes) -> str:
            return buf.decode()

    def raw() -> bytes:
        return b"\x00\xff"

    async def handler(ctx: Context) -> str:
        assert await ctx.run("raw", raw) == b"\x00\xff"
        assert await ctx.run("none", lambda: None) is None
        assert await ctx.run_typed("own", lambda: "abc", RunOptions(serde=Upper())) == "ABC"
        return await ctx.run("own", lambda: "xyz", Upper())

    driver = drive(handler)
    assert driver.output == b'"XYZ"', driver.error
    results = [entry.result for entry in driver.journal if isinstance(entry, Completion)]
    assert results == [b"\x00\xff", b"", b"ABC", b"XYZ"]


async def test_a_terminal_error_is_recorded_and_raised_again() -> None:
    def refuse() -> None:
        raise TerminalError("declined", 402, {"card": "x"})

    async def handler(ctx: Context) -> list[object]:
        try:
            await ctx.run("pay", refuse)
        except TerminalError as error:
            return [error.message, error.status_code, error.metadata]
        return []

    driver = drive(handler)
    assert driver.output == b'["declined",402,{"card":"x"}]'
    assert Completion(1, 0x8011, Failure(402, "declined", {"card": "x"})) in driver.journal
    assert replayed(driver).output == driver.output


async def test_other_errors_go_to_the_engine() -> None:
    failures: list[int] = []

    async def flaky() -> int:
        failures.append(1)
        if len(failures) < 3:
            raise ConnectionError("down")
        return len(failures)

    async def handler(ctx: Context) -> int:
        return await ctx.run_typed("flaky", flaky)

    assert drive(handler).output == b"3"


async def test_a_result_that_cannot_be_written_is_the_steps_failure() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.run("odd", lambda: object(), max_attempts=1)

    driver = drive(handler)
    assert isinstance(driver.output, Failure)
    assert "object" in driver.output.message


async def test_a_coroutine_from_a_plain_function_is_explained() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.run("wrong", lambda: waiting(1), max_attempts=1)

    driver = drive(handler)
    assert isinstance(driver.output, Failure)
    assert "PD0408" in driver.output.message


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        (RunOptions(), None),
        (RunOptions(max_attempts=3), StepRetryPolicy(max_attempts=3)),
        (RunOptions(max_duration=timedelta(seconds=2)), StepRetryPolicy(max_duration_ms=2000)),
        (RunOptions(max_retry_duration=timedelta(seconds=2)), StepRetryPolicy(max_duration_ms=2000)),
        (
            RunOptions(
                initial_retry_interval=timedelta(milliseconds=7),
                max_retry_interval=timedelta(seconds=1),
                retry_interval_factor=1.5,
            ),
            StepRetryPolicy(initial_interval_ms=7, max_interval_ms=1000, factor=1.5),
        ),
    ],
)
async def test_retry_options_make_a_policy(options: RunOptions[Any], policy: StepRetryPolicy | None) -> None:
    assert one_step(plain, 1, options=options)[1].retry == policy


async def test_max_attempts_gives_up_with_a_terminal_error() -> None:
    def broken() -> None:
        raise ValueError("broken")

    async def handler(ctx: Context) -> str:
        try:
            await ctx.run("broken", broken, max_attempts=3)
        except TerminalError as error:
            return error.message
        return "?"

    driver = drive(handler)
    assert driver.output == b'"ValueError: broken"'
    assert driver.step_runs == {1: 3}


async def test_a_body_runs_in_a_copy_of_the_handlers_context() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="default")
    var.set("of the host")
    seen: list[str] = []

    async def look() -> None:
        seen.append(var.get())
        var.set("changed in a step")

    async def handler(ctx: Context) -> None:
        seen.append(var.get())
        var.set("of the handler")
        await ctx.run_typed("look", look)
        await ctx.run("look", lambda: seen.append(var.get()))
        seen.append(var.get())

    drive(handler)
    assert seen == ["default", "of the handler", "of the handler", "of the handler"]
    assert var.get() == "of the host"


async def test_a_step_given_up_before_it_starts_is_abandoned() -> None:
    async def handler(ctx: Context) -> str:
        future = ctx.run("never", lambda: 1)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        return await ctx.run("next", lambda: "ran")

    driver = drive(handler)
    assert driver.output == b'"ran"'
    assert driver.abandoned == {1}
    assert set(driver.step_runs) == {2}
    assert [entry.name for entry in driver.journal if isinstance(entry, Run)] == ["never", "next"]


async def test_several_steps_started_before_any_is_awaited() -> None:
    async def handler(ctx: Context) -> list[int]:
        futures = [ctx.run_typed(f"n{number}", waiting, RunOptions(), number) for number in range(3)]
        return [(await future).x for future in reversed(futures)]

    assert drive(handler).output == b"[2,1,0]"


async def test_process_steps_travel_by_name() -> None:
    _, step = one_step(plain, 3, options=RunOptions(pool="process"))
    assert step.mode == "process"
    assert pickle.loads(pickle.dumps(step.body))() == b'{"x":3,"y":0}'


@pytest.mark.parametrize(
    ("function", "argument"), [(lambda x: x, 1), (waiting, 1), (plain, lambda: 1), (functools.partial(plain), 1)]
)
async def test_process_steps_that_cannot_travel_are_refused_up_front(function: Any, argument: Any) -> None:
    async def handler(ctx: Context) -> None:
        with pytest.raises(StepError, match="PD0408"):
            ctx.run_typed("x", function, RunOptions(pool="process"), argument)

    driver = drive(handler)
    assert driver.outcome is Turn.ENDED
    assert not any(isinstance(entry, Run) for entry in driver.journal)


async def test_an_argument_in_the_place_of_the_options_is_refused() -> None:
    async def handler(ctx: Context) -> None:
        with pytest.raises(StepError, match=r"PD0408: .* got a value of type int where its options stand"):
            ctx.run_typed("measure", len, 4)  # type: ignore[call-overload]

    assert drive(handler).outcome is Turn.ENDED


async def test_a_coroutine_instead_of_a_function_is_refused() -> None:
    async def handler(ctx: Context) -> None:
        with pytest.raises(StepError, match="instead of a function"):
            ctx.run("x", waiting(1))  # type: ignore[call-overload]

    assert drive(handler).outcome is Turn.ENDED


async def test_retryable_errors_carry_their_delay() -> None:
    assert RetryableError("x", retry_after=timedelta(seconds=1.5)).retry_after_ms == 1500
    assert RetryableError("x").retry_after_ms is None


async def test_time_is_a_step() -> None:
    import time

    async def handler(ctx: Context) -> float:
        return await ctx.time()

    before = time.time()
    driver = drive(handler)
    assert before <= float(driver.output) <= time.time()
    assert [entry.name for entry in driver.journal if isinstance(entry, Run)] == ["timestamp"]
    assert replayed(driver).output == driver.output


async def test_string_annotations_and_local_types_resolve() -> None:
    namespace: dict[str, Any] = {}
    exec(  # a module with postponed annotations
        "from __future__ import annotations\nimport uuid\ndef make() -> uuid.UUID:\n    return uuid.UUID(int=5)\n",
        namespace,
    )

    async def handler(ctx: Context) -> str:
        return type(await ctx.run("make", namespace["make"])).__name__

    assert drive(handler).output == b'"UUID"'


def test_a_function_of_a_program_without_a_file_cannot_run_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def typed_in() -> None: ...

    typed_in.__module__, typed_in.__qualname__ = "__main__", "typed_in"
    main = types.ModuleType("__main__")
    vars(main)["typed_in"] = typed_in
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(StepError, match="stands in no file"):
        check_process_step(typed_in, (), {}, DEFAULT_SERDE)
