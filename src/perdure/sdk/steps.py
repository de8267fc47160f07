"""Steps: what `ctx.run` hands to the engine.

A step's body runs the user's function and serializes its result, so that what the engine records is bytes. A
`TerminalError` becomes a recorded `Failure`; any other exception leaves the body and is retried by the engine.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import CodeType, FunctionType
from typing import Any, Generic, Literal, TypeVar

from perdure.model.journal import Failure
from perdure.model.retry import StepRetryPolicy
from perdure.sdk.codec import Codec
from perdure.sdk.declared_errors import Declared, failure_from
from perdure.sdk.errors import StepError, TerminalError
from perdure.sdk.serde import DEFAULT_SERDE, Serde, chosen, is_default, serde_for, written

T = TypeVar("T")


@dataclass(slots=True)
class RunOptions(Generic[T]):
    """How to run a step. If any of the retry fields is set, the step has a policy of its own; when that gives up, the
    step fails with a `TerminalError`."""

    serde: Serde[T] = field(default=DEFAULT_SERDE)
    type_hint: Any = None
    """Type of the result, when the function's annotation does not tell."""
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    initial_retry_interval: timedelta | None = None
    max_retry_interval: timedelta | None = None
    retry_interval_factor: float | None = None
    max_retry_duration: timedelta | None = None
    """The older name of `max_duration`."""
    pool: Literal["process"] | None = None
    """`process`: run the function in a worker process (CPU-bound work); it must be importable by name."""
    timeout: timedelta | None = None
    """How long one try may take: an async step is cancelled, a worker process killed, and the step retried. Not for a
    `def` step on a thread, which nothing can stop."""


DEFAULT_OPTIONS: RunOptions[Any] = RunOptions()


def no_options(given: object) -> StepError:
    return StepError(
        f"ctx.run_typed got a value of type {type(given).__qualname__} where its options stand.",
        "The arguments of the function come behind them: `ctx.run_typed('name', function, RunOptions(), argument)`.",
    )


def retry_policy(options: RunOptions[Any]) -> StepRetryPolicy | None:
    duration = options.max_duration if options.max_duration is not None else options.max_retry_duration
    given = {
        "initial_interval_ms": _ms(options.initial_retry_interval),
        "factor": options.retry_interval_factor,
        "max_interval_ms": _ms(options.max_retry_interval),
        "max_attempts": options.max_attempts,
        "max_duration_ms": _ms(duration),
    }
    given = {name: value for name, value in given.items() if value is not None}
    return StepRetryPolicy(**given) if given else None  # type: ignore[arg-type]


def _ms(delta: timedelta | None) -> int | None:
    return None if delta is None else delta // timedelta(milliseconds=1)


@dataclass(slots=True)
class Action:
    """What is known of a step's function, found once per code object."""

    mode: str
    serde: Serde[Any]
    code: CodeType | None
    """Kept alive, because the table is keyed by its address."""


_known: dict[int, Action] = {}
_KNOWN_MAX = 4096


def action_of(function: Callable[..., Any]) -> Action:
    """Errors: StepError when it is no function."""
    code = getattr(function, "__code__", None)
    if code is None:
        return _examine(function)
    # A closure made anew for each call shares its code; its annotations are taken to be the same.
    known = _known.get(id(code))
    if known is None:
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        known = _known[id(code)] = _examine(function)
    return known


def _examine(function: Callable[..., Any]) -> Action:
    if not callable(function):
        if inspect.isawaitable(function):
            getattr(function, "close", lambda: None)()
        raise StepError(
            f"ctx.run got a {type(function).__qualname__} instead of a function.",
            "Pass the function itself and its arguments: `ctx.run_typed('name', function, RunOptions(), argument)`.",
        )
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    if not inspect.isroutine(plain) and not inspect.isclass(plain):
        plain = type(plain).__call__
    mode = "async" if inspect.iscoroutinefunction(plain) else "thread"
    return Action(mode, serde_for(_return_annotation(plain)), getattr(function, "__code__", None))


def _return_annotation(function: Callable[..., Any]) -> Any:
    annotation = getattr(function, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        try:
            return inspect.signature(function, eval_str=True).return_annotation
        except Exception:
            # A name that exists only inside the enclosing function: the result stays plain JSON.
            return None
    return annotation


async def run_async(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    serde: Serde[Any],
    codec: Codec | None,
    errors: Declared = (),
    name: str = "",
) -> bytes | Failure:
    try:
        value = await function(*args, **kwargs)
        data = written(serde, value, f"The result of the step {name!r}")
        return data if codec is None else codec.encode(data)
    except Exception as error:
        return _failure_or_raise(error, errors)


def run_plain(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    serde: Serde[Any],
    codec: Codec | None,
    errors: Declared = (),
    name: str = "",
) -> bytes | Failure:
    try:
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value):
            value.close()
            raise StepError(
                "A plain function run as a step returned a coroutine, which nothing would run.",
                "Pass the async function itself: `ctx.run_typed('name', function, RunOptions(), argument)`.",
            )
        data = written(serde, value, f"The result of the step {name!r}")
        return data if codec is None else codec.encode(data)
    except Exception as error:
        return _failure_or_raise(error, errors)


def step_timeout_ms(options: RunOptions[Any], mode: str) -> int | None:
    """Errors: StepError for a step that cannot be stopped."""
    if options.timeout is not None and mode == "thread":
        raise StepError(
            "A `def` step runs on a thread, which nothing can stop: it cannot have a timeout.",
            'Run it in a worker process with `pool="process"`, or make it `async def`.',
        )
    return _ms(options.timeout)


def _failure_or_raise(error: Exception, errors: Declared) -> Failure:
    """Called while `error` is handled: what is not terminal leaves the step as it is."""
    if isinstance(error, TerminalError) or (errors and isinstance(error, errors)):
        failure = failure_from(error, errors)
        assert failure is not None
        return failure
    raise error


def check_process_step(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], serde: Serde[Any]
) -> None:
    """Errors: StepError when the function cannot be found by name in another process, or an argument cannot travel."""
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    found: Any = module
    for part in getattr(function, "__qualname__", "<unnamed>").split("."):
        found = getattr(found, part, None)
    if type(function) is not FunctionType or found is not function or inspect.iscoroutinefunction(function):
        raise StepError(
            f"{function!r} cannot run in a worker process: it is not a plain function at the top of a module.",
            'Move it to module level, or leave out `pool="process"`.',
        )
    if function.__module__ == "__main__" and not hasattr(module, "__file__"):
        raise StepError(
            f"{function.__qualname__} cannot run in a worker process: it was typed in, and stands in no file.",
            "Put it into a module.",
        )
    try:
        pickle.dumps((args, kwargs))
    except Exception as error:
        raise StepError(
            f"An argument of {function.__qualname__} cannot be sent to a worker process: {error}.",
            "Pass plain data.",
        ) from error
    try:
        pickle.dumps(serde)
    except Exception as error:
        raise StepError(
            f"The serde of {function.__qualname__} cannot be sent to a worker process: {error}.",
            "Define its class at the top of a module, with attributes that can be pickled.",
        ) from error


def step_serde(serde: Serde[Any], type_hint: Any, action: Action) -> Serde[Any]:
    if is_default(serde):
        return action.serde if type_hint is None else serde_for(type_hint)
    return chosen(serde, type_hint)
