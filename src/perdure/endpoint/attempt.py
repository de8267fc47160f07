"""One attempt of a handler on a Restate cluster: the author's side, driven by the state machine's answers.

What always holds:
* Turns run in plain callbacks of the endpoint's loop (`pump`), never inside a task.
* The handler is told one answer per turn; no step starts before its turn has ended.
* An attempt that fails first lets its running steps finish and proposes their results, up to the abort timeout.
* When `over` is set, the machine has written all that it will.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

import msgspec

from perdure.endpoint.driver import RestateDriver, SuspendNow
from perdure.endpoint.machine import Machine, MachineError
from perdure.endpoint.recorded import Recorded
from perdure.endpoint.steps import Ended, Steps
from perdure.env.executor import Executor
from perdure.model.driver import App, AttemptStart, AuthorAttempt, Turn
from perdure.model.errors import stack_of
from perdure.model.journal import Failure
from perdure.model.records import AttemptError

NO_PARK = "(This engine has no park: it is tried again as the policy of the handler says.)"

_log = logging.getLogger("perdure.endpoint")


class EndpointAttempt:
    """`changed` is called when there is something to send, or the attempt is over."""

    def __init__(
        self,
        machine: Machine,
        app: App,
        start: AttemptStart,
        executor: Executor,
        abort_timeout_ms: int,
        recorded: Recorded,
        changed: Callable[[], None],
    ) -> None:
        self.over = False
        self._machine = machine
        self._app = app
        self._start = start
        self._abort_timeout_ms = abort_timeout_ms
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._steps = Steps(self._loop, executor, self._step_ended)
        self._driver = RestateDriver(machine, self._steps.start, recorded)
        self._author: AuthorAttempt | None = None
        self._turn = Turn.YIELDED
        self._failing: AttemptError | None = None
        self._retry_after_ms: int | None = None
        self._failed_steps: list[Ended] = []
        """What the machine has not been told yet."""
        self._abort_timer: asyncio.TimerHandle | None = None
        self._waited_enough = False
        self._said_why = False

    def pump(self) -> None:
        """Run turns until the handler waits and nothing is left to tell it."""
        if self.over:
            return
        try:
            if not self._settling:
                self._run_turns()
            if self._settling:
                self._settle()
        except SuspendNow:
            self._finish()
        except MachineError as error:
            self._machine_failed(error)
        except Exception as error:  # of our own making: the attempt must end all the same
            _log.exception("An attempt of %s broke", self._start.target)
            self._machine.fail(f"{type(error).__name__}: {error}", traceback.format_exc(), None)
            self._machine_failed(error)
        self._changed()

    @property
    def _settling(self) -> bool:
        return self._failing is not None or bool(self._failed_steps)

    def _run_turns(self) -> None:
        if self._turn is Turn.YIELDED:
            self._turn = self._first_turn() if self._author is None else self._author.proceed()
        author = self._author
        assert author is not None
        while self._turn is Turn.WAITING:
            told = self._driver.take_next(author.awaiting, self._steps.running)
            if told is None:
                return
            self._turn = author.deliver(*told)
        if self._turn is Turn.YIELDED:
            self._loop.call_soon(self.pump)
        elif self._turn is Turn.ENDED:
            self._finish()
            self._steps.cancel()
        else:
            assert author.error is not None
            self._failing, self._retry_after_ms = author.error, author.retry_after_ms
            if author.park:
                self._failing = msgspec.structs.replace(author.error, message=f"{author.error.message} {NO_PARK}")

    def _first_turn(self) -> Turn:
        self._author = self._app.begin(self._driver, self._start)
        return self._author.start()

    # --- steps --------------------------------------------------------------------------------------------------------

    def _step_ended(self, ended: Ended) -> None:
        if self.over:
            return
        if ended.error is not None:
            # The machine ends the attempt when it is told, so the other steps come first.
            self._failed_steps.append(ended)
        else:
            assert ended.result is not None
            try:
                self._machine.propose(ended.handle, ended.result)
            except MachineError as error:
                self._machine_failed(error)
        self._loop.call_soon(self.pump)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Once no step runs any more, or they took too long, tell the machine what failed."""
        if self._steps.running and not self._driver.failed and not self._waited_enough:
            if self._abort_timer is None:
                self._abort_timer = self._loop.call_later(self._abort_timeout_ms / 1000, self._wait_no_longer)
        elif self._failing is not None:
            _log.warning("An attempt of %s failed: %s", self._start.target, self._failing.message)
            if not self._driver.failed:
                self._machine.fail(self._failing.message, self._failing.stacktrace, self._retry_after_ms)
            self._finish()
            self._steps.cancel()
        else:
            # The machine may give the step up for good: then the handler goes on.
            self._propose_retry(self._failed_steps.pop(0))
            self._loop.call_soon(self.pump)

    def _wait_no_longer(self) -> None:
        self._waited_enough = True
        self.pump()

    def _propose_retry(self, ended: Ended) -> None:
        error = ended.error
        assert error is not None
        text = f"{type(error).__name__}: {error}"
        _log.warning("The step %r of %s failed: %s", ended.step.name, self._start.target, text)
        self._said_why = True
        self._machine.propose_retry(
            ended.handle,
            Failure(500, text),
            stack_of(error),
            took_ms=ended.took_ms,
            retry=ended.step.retry,
            retry_after_ms=getattr(error, "retry_after_ms", None),
        )

    def _machine_failed(self, error: Exception) -> None:
        if not self._said_why:
            _log.warning("An attempt of %s ended: %s", self._start.target, error)
        self._finish()
        self._steps.cancel()

    def _finish(self) -> None:
        self.over = True
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._author is not None:
            self._author.close()

    def abort(self) -> None:
        """The connection is gone: nobody takes anything any more."""
        if not self.over:
            self._finish()
        self._steps.cancel()
