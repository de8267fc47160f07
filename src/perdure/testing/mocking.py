"""Steps in tests: which ones ran and with what, and stand-ins for those that should not.

What always holds: what a stand-in returns goes through the step's own serialization and is recorded in the journal like any
result; a step whose result is recorded is neither run nor replaced again. Works between the app and the engine, by the
driver protocol; it must not know how steps are run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from perdure.model.driver import AttemptStart, AuthorAttempt, C, Capability, Driver, Step
from perdure.model.ids import format_invocation_id
from perdure.model.journal import Command, Failure
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import Target
from perdure.sdk.app import App
from perdure.sdk.guards import user_line
from perdure.sdk.steps import run_async, run_plain

_MISSING: Any = object()


@dataclass(frozen=True)
class StepCall:
    """One execution of a step's body, or of its stand-in. `line` is where the handler asked for it."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    invocation_id: str
    target: str
    completion_id: int
    line: str
    mocked: bool = False


class StepMock:
    """A stand-in for the steps of one name; `calls` says how it was used. Ends with `remove`, or with its `with` block."""

    def __init__(
        self,
        steps: Steps,
        name: str,
        stand_in: Callable[..., Any],
        times: int | None,
        where: Callable[[StepCall], bool] | None,
    ) -> None:
        self.name = name
        self.calls: list[StepCall] = []
        self._steps = steps
        self._stand_in = stand_in
        self._left = times
        self._where = where

    @property
    def called(self) -> bool:
        return bool(self.calls)

    def remove(self) -> None:
        self._steps.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def takes(self, call: StepCall) -> bool:
        return call.name == self.name and self._left != 0 and (self._where is None or self._where(call))

    def stands_in(self, call: StepCall) -> Callable[..., Any]:
        self.calls.append(call)
        if self._left is not None:
            self._left -= 1
        return self._stand_in


@dataclass
class StepBody:
    """A step's function and what it is called with, as `sdk` composed it."""

    runner: Callable[..., Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, step: Step) -> StepBody:
        body = step.body
        assert isinstance(body, functools.partial) and body.func in (run_async, run_plain), (
            f"not a step's body: {body!r}"
        )
        function, args, kwargs, *rest = body.args
        return cls(body.func, function, args, kwargs, tuple(rest))

    def put_into(self, step: Step) -> None:
        step.body = functools.partial(self.runner, self.function, self.args, self.kwargs, *self.rest)


class Steps:
    """What a test knows and wants of the steps of one node."""

    watches_commands = False
    """True: `issued` and `refused` are called."""

    def __init__(self) -> None:
        self.calls: list[StepCall] = []
        self.now_s: Callable[[], float] = lambda: 0.0
        self._mocks: deque[StepMock] = deque()

    def mock(
        self,
        name: str,
        *,
        returning: Any = _MISSING,
        raising: BaseException | type[BaseException] | Sequence[BaseException | type[BaseException]] | None = None,
        calling: Callable[..., Any] | None = None,
        times: int | None = None,
        where: Callable[[StepCall], bool] | None = None,
    ) -> StepMock:
        given = [returning is not _MISSING, raising is not None, calling is not None]
        if sum(given) != 1:
            raise TypeError("give exactly one of returning=, raising= and calling=")
        if raising is not None and isinstance(raising, Sequence):
            times = len(raising) if times is None else times
        if calling is None:
            calling = _returns(returning) if raising is None else _raises(raising)
        mock = StepMock(self, name, calling, times, where)
        self._mocks.appendleft(mock)
        return mock

    def forget(self, mock: StepMock) -> None:
        if mock in self._mocks:
            self._mocks.remove(mock)

    def issued(self, command: Command, start: AttemptStart) -> None:
        """Called for each command, while the handler that asks for it stands on the stack."""

    def refused(self, start: AttemptStart, line: str) -> None:
        """Called when the engine did not take a command, such as one that differs from the journal."""

    def body_of(self, call: StepCall, function: Callable[..., Any], *, plain: bool) -> Callable[..., Any]:
        """What runs as the step's body, when it is not replaced; a coroutine function, unless `plain`."""
        return function

    def intercept(self, step: Step, start: AttemptStart, line: str) -> None:
        """Called when a step has been asked for. It may turn out to have a result already: then its body is not run."""
        body = StepBody.of(step)
        if step.name == "timestamp" and body.function.__module__ == "perdure.sdk.runtime":
            body.function = _async(self.now_s)
            body.put_into(step)
            return
        call = StepCall(
            step.name,
            body.args,
            dict(body.kwargs),
            format_invocation_id(start.invocation_id),
            str(start.target),
            step.completion_id,
            line,
        )
        if any(mock.takes(call) for mock in self._mocks):
            encode, step.encode, step.mode = step.encode, None, "async"
            step.body = functools.partial(self._run_mocked, body, call, encode)
        elif step.mode == "process":
            step.encode = functools.partial(self._process_done, call, step.encode)
        else:
            run = self._run_async if step.mode == "async" else self._run_plain
            step.body = functools.partial(run, body, call)

    async def _run_mocked(
        self, body: StepBody, call: StepCall, encode: Callable[[bytes], bytes] | None
    ) -> bytes | Failure:
        mock = next((mock for mock in self._mocks if mock.takes(call)), None)
        if mock is not None:
            call = dataclasses.replace(call, mocked=True)
            self.calls.append(call)
            result = await run_async(_async(mock.stands_in(call)), body.args, body.kwargs, *body.rest)
        elif body.runner is run_async:
            result = await self._run_async(body, call)
        else:
            result = await asyncio.to_thread(self._run_plain, body, call)
        return encode(result) if encode is not None and isinstance(result, bytes) else result

    async def _run_async(self, body: StepBody, call: StepCall) -> bytes | Failure:
        self.calls.append(call)
        return await run_async(self.body_of(call, body.function, plain=False), body.args, body.kwargs, *body.rest)

    def _run_plain(self, body: StepBody, call: StepCall) -> bytes | Failure:
        self.calls.append(call)
        return run_plain(self.body_of(call, body.function, plain=True), body.args, body.kwargs, *body.rest)

    def _process_done(self, call: StepCall, encode: Callable[[bytes], bytes] | None, data: bytes) -> bytes:
        self.calls.append(call)
        return data if encode is None else encode(data)


class WatchedApp:
    """An app as the engine sees it (`model.driver.App`), with its steps shown to a test on their way."""

    def __init__(self, app: App, steps: Steps) -> None:
        self._app = app
        self._steps = steps

    @property
    def identity(self) -> str:
        return self._app.identity

    def services(self) -> Sequence[ServiceSpec]:
        return self._app.services()

    def validate_input(self, handler: HandlerSpec, target: Target, content_type: str | None, body: bytes) -> None:
        self._app.validate_input(handler, target, content_type, body)

    def begin(self, driver: Driver, start: AttemptStart) -> AuthorAttempt:
        return self._app.begin(WatchedDriver(driver, start, self._steps), start)


class WatchedDriver:
    """Passes everything on."""

    issue: Callable[[Any], Any]

    def __init__(self, driver: Driver, start: AttemptStart, steps: Steps) -> None:
        self._driver = driver
        self._start = start
        self._steps = steps
        # Without a frame of its own, so that the engine finds the handler's line behind it.
        self.issue = self._issue if steps.watches_commands else driver.issue

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._driver.capabilities

    @property
    def replaying(self) -> bool:
        return self._driver.replaying

    def _issue(self, command: C) -> C:
        self._steps.issued(command, self._start)
        try:
            return self._driver.issue(command)
        except BaseException:
            self._steps.refused(self._start, user_line(sys._getframe(1)))
            raise

    def start_step(self, step: Step) -> None:
        self._steps.intercept(step, self._start, user_line(sys._getframe(1)))
        self._driver.start_step(step)

    def abandon(self, completion_id: int) -> None:
        self._driver.abandon(completion_id)


def _returns(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _raises(
    what: BaseException | type[BaseException] | Sequence[BaseException | type[BaseException]],
) -> Callable[..., Any]:
    """One error for every call, or a row of them, the last of which stays."""
    row = deque(what) if isinstance(what, Sequence) else deque([what])

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        raise row.popleft() if len(row) > 1 else row[0]

    return stand_in


def _async(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return call
