"""Attempts as they look from between the two sides of the driver protocol: what was told, asked and run, how each turn ended.

What always holds: nothing that goes through is changed, held back or done twice. How an engine runs attempts is not known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import msgspec

from perdure.model.driver import App, AttemptStart, AuthorAttempt, Capability, Driver, Step, Turn
from perdure.model.journal import ANSWERED_BY_ENGINE, Awaiting, Command, Completion, Failure, Notification, Sleep
from perdure.model.records import AttemptError
from perdure.model.service import HandlerSpec, ServiceSpec
from perdure.model.target import Target

C = TypeVar("C", bound=Command)


class Failed(NamedTuple):
    """How a step failed."""

    on_thread: bool
    """The news of it takes a while."""
    own_policy: bool
    """It or its error says when it is to be tried again."""


class WatchedAttempt:
    """Both sides at once: to the engine an `AuthorAttempt`, to the author's side a `Driver`."""

    def __init__(self, driver: Driver, start: AttemptStart, app: WatchedApp) -> None:
        self.invocation_id = start.invocation_id
        self.epoch = start.epoch
        self.target = start.target
        self.turn = Turn.YIELDED
        """How the last one ended."""
        self.turns = 0
        self.told = 0
        """Notifications."""
        self.asked = 1
        """Commands, the input counted."""
        self.asked_others = 0
        """The same up to the last one that the engine answers: nothing that the handler runs itself holds it up."""
        self.fresh: dict[int, int] = {}
        """Steps that were handed over, are not recorded, and have not begun; and after how many turns each was."""
        self.running: set[int] = set()
        self.done: set[int] = set()
        """Those that came to their end, of which the handler was not told so far."""
        self.failed: dict[int, Failed] = {}
        """Those of them that raised, in that order."""
        self.refused = False
        """The engine refused a command."""
        self.sleeps: dict[int, int] = {}
        """When those end of which the handler was not told so far, in Unix time."""
        self.tasks: set[int] = set()
        """Those of the steps that run that can be stopped."""
        self.left: str | None = None
        """What was under way when it was closed."""
        self._driver = driver
        self._app = app
        self._abandoned: set[int] = set()
        self._commands = sum(isinstance(each, Command) for each in start.journal)
        self._notifications = len(start.journal) - self._commands
        self._recorded = {each.completion_id for each in start.journal if isinstance(each, Completion)}
        self._author = app.real.begin(self, start)

    @property
    def failing(self) -> bool:
        """It goes no further than to its failure; or one of its steps gives up, of which it will be told."""
        return self.turn is Turn.FAILED or self.refused or bool(self.failed)

    # --- what the author's side asks --------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._driver.capabilities

    @property
    def replaying(self) -> bool:
        return self._driver.replaying

    def issue(self, command: C) -> C:
        try:
            taken = self._driver.issue(command)
        except BaseException:
            self.refused = True
            raise
        self.asked += 1
        if type(command) in ANSWERED_BY_ENGINE:
            self.asked_others = self.asked
            self._app.asking.add(self)
        if isinstance(taken, Sleep):
            self.sleeps[taken.completion_id] = taken.wake_at_ms
        return taken

    def start_step(self, step: Step) -> None:
        if step.completion_id not in self._recorded:
            self.fresh[step.completion_id] = self.turns
            watch = self._watched if step.mode == "async" else self._watched_plain
            step = msgspec.structs.replace(step, body=watch(step))
        self._driver.start_step(step)

    def abandon(self, completion_id: int) -> None:
        since = self.fresh.pop(completion_id, None)
        if since is not None and (since == self.turns or self.told < self._notifications):
            self._abandoned.add(completion_id)  # the engine cannot have set it going
        self._driver.abandon(completion_id)

    def _watched(self, step: Step) -> Callable[[], Awaitable[bytes | Failure]]:
        body = cast(Callable[[], Awaitable[bytes | Failure]], step.body)

        async def run() -> bytes | Failure:
            self._begins(step)
            self.tasks.add(step.completion_id)
            try:
                result = await body()
            except BaseException as error:
                self._fails(step, error)
                raise
            self._ends(step.completion_id)
            return result

        return run

    def _watched_plain(self, step: Step) -> Callable[[], bytes | Failure]:
        body = cast(Callable[[], bytes | Failure], step.body)

        def run() -> bytes | Failure:
            self._begins(step)
            try:
                result = body()
            except BaseException as error:
                self._fails(step, error)
                raise
            self._ends(step.completion_id)
            return result

        return run

    def _begins(self, step: Step) -> None:
        completion_id = step.completion_id
        if completion_id in self._abandoned:
            self._app.on_wrong(f"a step of {self.target} begins that was given up before")
        if step.mode == "async" and not self._app.may_begin():
            self._app.on_wrong(f"a step of {self.target} begins while its engine stops")
        self.fresh.pop(completion_id, None)
        self.running.add(completion_id)

    def _ends(self, completion_id: int) -> None:
        self.running.discard(completion_id)
        self.tasks.discard(completion_id)
        self.done.add(completion_id)

    def _fails(self, step: Step, error: BaseException) -> None:
        own_policy = step.retry is not None or getattr(error, "retry_after_ms", None) is not None
        self._ends(step.completion_id)
        self.failed[step.completion_id] = Failed(step.mode != "async", own_policy)

    # --- what the engine tells --------------------------------------------------------------------------------------------

    @property
    def error(self) -> AttemptError | None:
        return self._author.error

    @error.setter
    def error(self, error: AttemptError | None) -> None:
        self._author.error = error

    @property
    def retry_after_ms(self) -> int | None:
        return self._author.retry_after_ms

    @retry_after_ms.setter
    def retry_after_ms(self, retry_after_ms: int | None) -> None:
        self._author.retry_after_ms = retry_after_ms

    @property
    def park(self) -> bool:
        return self._author.park

    @park.setter
    def park(self, park: bool) -> None:
        self._author.park = park

    def start(self) -> Turn:
        return self._turned(self._author.start())

    def deliver(self, notification: Notification, at_ms: int) -> Turn:
        self.told += 1
        replaying = self.told < self._notifications or self.asked < self._commands
        if self._driver.replaying is not replaying:
            self._app.on_wrong(f"{self.target} is told that it is{'' if self.replaying else ' not'} replayed")
        if type(notification) is Completion:
            self.done.discard(notification.completion_id)
            self.failed.pop(notification.completion_id, None)
            self.sleeps.pop(notification.completion_id, None)
        return self._turned(self._author.deliver(notification, at_ms))

    def proceed(self) -> Turn:
        return self._turned(self._author.proceed())

    def _turned(self, turn: Turn) -> Turn:
        self.turn = turn
        self.turns += 1
        return turn

    def _under_way(self) -> str:
        if self.turn is not Turn.WAITING or self.failing:
            return "a turn" if self.turn is Turn.YIELDED else "its end"
        return "a step" if self.fresh or self.running or self.done else ""

    def awaiting(self) -> Awaiting:
        return self._author.awaiting()

    def fail(self, error: AttemptError, *, retry_after_ms: int | None = None, park: bool = False) -> None:
        self._author.fail(error, retry_after_ms=retry_after_ms, park=park)

    def close(self) -> None:
        if self.left is None:
            self.left = self._under_way()
        self._app.close(self)
        self._author.close()


class WatchedApp:
    """An app whose attempts are known."""

    def __init__(self, app: App, on_wrong: Callable[[str], None]) -> None:
        """`on_wrong` is told of what the protocol does not allow."""
        self.real = app
        self.on_wrong = on_wrong
        self.may_begin: Callable[[], bool] = lambda: True
        """Neither attempts nor steps begin while an engine stops, or afterwards."""
        self.asking: set[WatchedAttempt] = set()
        """Those that asked for what the engine answers, since somebody looked last."""
        self.open: list[WatchedAttempt] = []
        """In the order in which they began; without those that are closed."""
        self.closed: dict[tuple[bytes, int], WatchedAttempt] = {}
        """By invocation and epoch, the latest of each."""

    @property
    def identity(self) -> str:
        return self.real.identity

    def services(self) -> Sequence[ServiceSpec]:
        return self.real.services()

    def validate_input(self, handler: HandlerSpec, target: Target, content_type: str | None, body: bytes) -> None:
        self.real.validate_input(handler, target, content_type, body)

    def begin(self, driver: Driver, start: AttemptStart) -> AuthorAttempt:
        if not self.may_begin():
            self.on_wrong(f"an attempt of {start.target} begins while its engine stops")
        attempt = WatchedAttempt(driver, start, self)
        self.open.append(attempt)
        return attempt

    def close(self, attempt: WatchedAttempt) -> None:
        if attempt in self.open:
            self.open.remove(attempt)
        self.closed[attempt.invocation_id, attempt.epoch] = attempt
