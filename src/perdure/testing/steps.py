"""Did a step run again that should not have? Judged from what the steps did and from the log, not by asking the engine.

A step may run twice when the process dies before its result is recorded. It may not once it is. That shows in two ways: a
later step of the same invocation had run before the repeat, or the log held the step's result before the repeat.

The steps append to a `StepTrace`, and return the reference that it gives them inside their result, where
`RecordedResults` finds it again in the log.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from perdure.env.files import SystemFiles
from perdure.log.dump import records

_REFERENCE = re.compile(r"inv_\w+\.\d+")


class StepLine(NamedTuple):
    """One execution of one step. `position` grows along the invocation. Units: Unix time in milliseconds."""

    at_ms: int
    invocation_id: str
    position: int
    words: tuple[str, ...]

    @property
    def reference(self) -> str:
        return f"{self.invocation_id}.{self.position}"


class StepTrace:
    """A file to which each step appends one line with one write(2): it survives the death of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def step(self, invocation_id: str, position: int, *words: object) -> str:
        """Note that a step runs; the reference that its result must contain. `words` hold no blanks."""
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        line = StepLine(time.time_ns() // 1_000_000, invocation_id, position, tuple(map(str, words)))
        os.write(self._file, f"{line.at_ms} {invocation_id} {position} {' '.join(line.words)}\n".encode())
        return line.reference

    def lines(self) -> list[StepLine]:
        if not self.path.exists():
            return []
        with self.path.open() as file:
            return [_step_line(line) for line in file if line.endswith("\n")]


class RecordedResults:
    """When the result of each step was recorded, as the log tells.

    `read_on` is for the times when the server is down: segments that are no longer needed leave the log.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._next_lsn = 1
        self.at_ms: dict[str, int] = {}

    def read_on(self) -> None:
        if not self._log.is_dir():
            return
        for record in records(SystemFiles(), self._log, from_lsn=self._next_lsn):
            lsn, at_ms, entries = record["lsn"], record.get("at_ms"), record.get("entries")
            assert isinstance(lsn, int)
            self._next_lsn = lsn + 1
            if record["type"] == "Progress" and isinstance(at_ms, int) and isinstance(entries, list):
                for entry in entries:
                    if isinstance(entry, dict) and entry["type"] == "Completion":
                        for reference in _REFERENCE.findall(json.dumps(entry.get("result"))):
                            self.at_ms.setdefault(reference, at_ms)


class Verdict(NamedTuple):
    repeated: int
    """Steps that ran again before their result was recorded: allowed."""
    wrong: list[str]
    """What should not have been, in words."""


def judge(lines: list[StepLine], recorded_at_ms: dict[str, int]) -> Verdict:
    """Look at every execution after the first of each step."""
    repeated = 0
    wrong: list[str] = []
    seen: dict[str, set[int]] = {}
    for line in lines:
        before = seen.setdefault(line.invocation_id, set())
        if line.position in before:
            recorded = recorded_at_ms.get(line.reference)
            if max(before) > line.position:
                wrong.append(f"{line.reference} ran again after step {max(before)} of its invocation")
            elif recorded is not None and recorded < line.at_ms:
                wrong.append(f"{line.reference} ran again {line.at_ms - recorded} ms after its result was recorded")
            else:
                repeated += 1
        before.add(line.position)
    return Verdict(repeated, wrong)


def _step_line(line: str) -> StepLine:
    at_ms, invocation_id, position, *words = line.split()
    return StepLine(int(at_ms), invocation_id, int(position), tuple(words))
