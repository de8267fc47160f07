"""Would this code resume what is under way? Replays every open invocation, starts no step, proposes nothing.

What always holds: no attempt of the gate gets further than its journal and the turn behind it; whatever an attempt
proposes ends here and is only looked at. The gate opens its directory as a start does and may
repair and checkpoint it: give it a copy (`perdure replay` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from perdure.invoker.local import LocalAttempt
from perdure.invoker.pool import attempt_start
from perdure.invoker.replay import MISMATCH
from perdure.model.driver import App
from perdure.model.errors import PerdureError
from perdure.model.ids import format_invocation_id
from perdure.model.records import AttemptError, AttemptFailed, Record
from perdure.node.core import Core
from perdure.node.performer import Reply
from perdure.node.phase import Phase
from perdure.node.recovery import Recovered, replay
from perdure.node.settings import EngineSettings
from perdure.store.rows import Invocation, Status

OPEN = (Status.SCHEDULED, Status.INBOXED, Status.INVOKED, Status.SUSPENDED, Status.PAUSED)
_TURNS_MAX = 10_000


@dataclass(frozen=True)
class Verdict:
    """Of one invocation. `cause`: None = the code fits; else `mismatch`, `gone` (no such handler) or `fails`."""

    invocation_id: str
    target: str
    handler: str
    status: str
    entries: int
    same_code: bool | None
    """The invocation was accepted by this very code; None: not recorded."""
    cause: str | None = None
    message: str = ""

    @property
    def breaks(self) -> bool:
        return self.cause is not None


class ReplayGate(Core):
    """Made and used on the event loop that it will run on: `open`, `verdicts`, `close`."""

    def __init__(self, settings: EngineSettings, app: App) -> None:
        super().__init__(settings, app)
        self.may_start_steps = False
        self._code = app
        self._proposed: list[Record] = []

    async def open(self) -> None:
        """Bring the tables up to the end of the log. Errors: PerdureError."""
        self.loop = asyncio.get_running_loop()
        try:
            await self._open()
            await replay(self, Recovered())
        except BaseException:
            await self.close()
            raise
        self._now_ms = max([0, *(tables.meta.now_ms for tables in self.store.tables)])

    async def close(self) -> None:
        self.phase = Phase.STOPPED
        await self._leave()

    async def verdicts(self) -> list[Verdict]:
        """Of every open invocation, in the order in which they came."""
        return [await self._judge(partition, row) for partition, row in self._open_invocations()]

    def _open_invocations(self) -> Iterator[tuple[int, Invocation]]:
        for partition, tables in enumerate(self.store.tables):
            for seq in sorted(seq for status in OPEN for seq in tables.with_status(status)):
                row = tables.invocation(seq)
                assert row is not None
                yield partition, row

    async def _judge(self, partition: int, row: Invocation) -> Verdict:
        try:
            _, spec = self.resolve(row.target.service, row.target.handler)
        except PerdureError as gone:
            return self._verdict(row, "gone", gone.what)
        if not row.epoch:
            return self._verdict(row)  # no attempt has begun: there is nothing that the code could contradict
        self._proposed.clear()
        start = attempt_start(self, spec, partition, row)
        attempt = LocalAttempt(self, self._code, spec, partition, row, start, _nothing, _nothing)
        try:
            attempt.pump()
            for _ in range(_TURNS_MAX):
                if attempt.over or attempt.idle_since:
                    break
                await asyncio.sleep(0)  # it yielded in the middle of a long turn, and goes on by itself
            else:
                return self._verdict(row, "fails", "it does not come to rest after its journal.")
        finally:
            attempt.abort()
        error = self._failure_proposed()
        if error is None:
            return self._verdict(row)
        return self._verdict(row, "mismatch" if error.code == MISMATCH else "fails", error.message)

    def _failure_proposed(self) -> AttemptError | None:
        for record in self._proposed:
            if isinstance(record, AttemptFailed):
                return record.error
        return None

    def _verdict(self, row: Invocation, cause: str | None = None, message: str = "") -> Verdict:
        return Verdict(
            format_invocation_id(row.id),
            str(row.target),
            f"{row.target.service}/{row.target.handler}",
            row.status.name.lower(),
            row.journal_length,
            None if row.deployment is None else row.deployment == self._code.identity,
            cause,
            message,
        )

    # --- what an attempt is told of the node --------------------------------------------------------------------------------

    def propose(self, record: Record, *, awaited: bool, reply: Reply | None = None) -> int:
        self._proposed.append(record)
        return self.applied_lsn

    def is_pending(self, lsn: int) -> bool:
        return False

    def hurry(self) -> None:
        pass

    def now_ms(self) -> int:
        """Where the log's time ended: no sleep comes due here."""
        return self._now_ms


def _nothing(_: object) -> None:
    pass
