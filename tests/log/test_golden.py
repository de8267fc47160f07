"""Old logs stay readable: the golden log of each format gives exactly its records."""

from __future__ import annotations

import shutil
import typing
from pathlib import Path

import pytest

from perdure.env.files import SystemFiles
from perdure.log.read import read_segments
from perdure.log.recovery import survey
from perdure.log.verify import verify
from perdure.model.journal import Entry
from perdure.model.records import Message, Record

from ..golden import make_log
from .conftest import OpenLog, flat, record

GOLDEN = Path(__file__).parents[1] / "golden" / "log"


def test_format_1_reads_back_to_its_records() -> None:
    found = survey(SystemFiles(), GOLDEN / "format-1", 0)
    assert found.clean and len(found.segments) > 1
    batches = list(read_segments(SystemFiles(), [each.path for each in found.segments], 1, found.next_lsn - 1))
    assert [records for _, records in batches] == make_log.batches()
    assert [lsn for lsn, _ in flat(batches)] == list(range(1, found.next_lsn))
    assert verify(SystemFiles(), GOLDEN / "format-1").problem is None


async def test_a_log_in_format_1_can_be_continued(open_log: OpenLog, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "format-1", tmp_path / "log")
    log, _ = await open_log()
    lsn = log.append(record(1))
    await log.close(clean=True)
    log, _ = await open_log()
    assert flat(list(log.read(lsn))) == [(lsn, record(1))]
    assert flat(list(log.read(1)))[:-1] == flat(list(zip_lsns(make_log.batches())))


def zip_lsns(batches: list[list[Record]]) -> list[tuple[int, list[Record]]]:
    first, found = 1, []
    for batch in batches:
        found.append((first, batch))
        first += len(batch)
    return found


@pytest.mark.parametrize("union", [Record, Entry, Message], ids=["records", "entries", "messages"])
def test_the_golden_log_of_the_current_format_holds_every_type(union: object) -> None:
    def kinds(value: object) -> set[type]:
        found = {type(value)}
        for field in getattr(value, "__struct_fields__", ()):
            found |= kinds(getattr(value, field))
        if isinstance(value, list):
            found = found.union(*map(kinds, value))
        return found

    assert set(typing.get_args(union)) - kinds(make_log.batches()) == set()
