"""What `perdure log verify` and `perdure log dump` say of a log, good, torn and damaged."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from perdure.env.files import SystemFiles
from perdure.log.dump import dump, records
from perdure.log.errors import LogCorrupt
from perdure.log.verify import verify
from perdure.model.ids import format_invocation_id
from perdure.model.journal import SetState

from ..golden import make_log
from .conftest import OpenLog, record

FILES = SystemFiles()
GOLDEN = Path(__file__).parents[1] / "golden" / "log" / "format-1"


async def test_verify_counts_what_is_there(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    for number in range(1, 31):
        log.append(record(number, 300), awaited=False)
        if number % 2 == 0:
            await log.sync()
    report = verify(FILES, tmp_path / "log")
    assert (report.records, report.batches, report.last_lsn, report.clean) == (30, 15, 30, False)
    assert report.problem is None and report.torn_at is None
    assert [segment.ending for segment in report.segments] == ["sealed"] * (len(report.segments) - 1) + ["open"]
    borders = [(segment.first_lsn, segment.last_lsn) for segment in report.segments]
    assert borders[0][0] == 1 and all(before[1] + 1 == after[0] for before, after in itertools.pairwise(borders))
    await log.close(clean=True)
    report = verify(FILES, tmp_path / "log")
    assert report.clean and report.segments[-1].ending == "closed"
    assert report.lines()[-2:] == ["30 records in 15 batches, last LSN 30", "closed in order"]


async def test_verify_counts_voids_as_no_records(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    bad = record(2)
    log.append(record(1))
    log.append(bad)
    bad.entries.append(SetState("\ud800", b""))
    await log.close(clean=True)
    report = verify(FILES, tmp_path / "log")
    assert (report.records, report.last_lsn) == (1, 2)
    assert [fact["type"] for fact in records(FILES, tmp_path / "log")] == ["Progress", "void"]


async def test_verify_tells_a_torn_tail_from_damage(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    ends = []
    for number in range(1, 5):
        log.append(record(number))
        await log.sync()
        ends.append(log._active.position)
    await log.close(clean=False)
    path = tmp_path / "log" / "segment-000000000001.log"
    good = path.read_bytes()

    path.write_bytes(good[: ends[3] - 1] + b"!" + good[ends[3] :])
    report = verify(FILES, tmp_path / "log")
    assert report.problem is None and report.torn_at == (path.name, ends[2])
    assert (
        report.lines()[-1] == f"not closed in order: an unfinished write at {path.name}, byte {ends[2]} will be cut off"
    )
    problem = verify(FILES, tmp_path / "log", checkpoint_lsn=4).problem
    assert isinstance(problem, LogCorrupt) and problem.offset == ends[2]

    path.write_bytes(good[: ends[1] - 1] + b"!" + good[ends[1] :])
    report = verify(FILES, tmp_path / "log")
    assert isinstance(report.problem, LogCorrupt) and report.records == 1
    assert (report.problem.segment, report.problem.offset) == (path.name, ends[0])
    assert report.lines()[-1].startswith(f"REFUSED: PD0101: {path.name} is damaged at byte {ends[0]}: the checksum")


async def test_verify_changes_nothing(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    log.append(record(1))
    await log.close(clean=True)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "log").iterdir()}
    verify(FILES, tmp_path / "log")
    list(dump(FILES, tmp_path / "log"))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "log").iterdir()} == before


def test_dump_as_json_shows_every_record_whole() -> None:
    facts = [json.loads(line) for line in dump(FILES, GOLDEN, as_json=True)]
    expected = [each for batch in make_log.batches() for each in batch]
    assert [(fact["lsn"], fact["type"], fact["partition"], fact["at_ms"]) for fact in facts] == [
        (lsn, type(each).__name__, each.partition, each.at_ms) for lsn, each in enumerate(expected, 1)
    ]
    [invoke] = [fact for fact in facts if fact["lsn"] == 4]
    assert invoke["request"]["target"] == "greeter/greet"
    assert invoke["request"]["invocation_id"] == format_invocation_id(make_log.ID)
    assert invoke["request"]["body"] == {"bytes": 5, "text": '"Ann"'}
    assert invoke["request"]["handler_kind"] == "PLAIN"
    assert invoke["request"]["origin"]["target"] == "ticket/seat-7 ü/reserve"
    [progress] = [fact for fact in facts if fact["lsn"] == 5]
    assert progress["entries"][2] == {"type": "SetState", "key": "count", "value": {"bytes": 2, "base64": "AP8="}}
    assert (progress["segment"], progress["offset"]) == ("segment-000000000002.log", 64)


def test_dump_for_people_is_one_line_a_record() -> None:
    lines = list(dump(FILES, GOLDEN))
    assert len(lines) == sum(map(len, make_log.batches()))
    assert lines[0] == "         1  Lead            partition=0 at_ms=1790000000000 leader_epoch=1"
    assert "target='ticket/seat-7 ü/reserve'" in lines[3]
    assert all("\n" not in line and len(line.split()) > 3 for line in lines)


async def test_dump_shows_nothing_raw_that_a_user_sent(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    evil, large = record(1), record(2, 500)
    evil.entries.append(SetState("\x1b]0;owned\x07\nkey", b"\x1b[31mred\n\xe2\x80\xae"))
    log.append(evil)
    log.append(large)
    await log.close(clean=True)
    for as_json in (True, False):
        lines = list(dump(FILES, tmp_path / "log", as_json=as_json))
        assert len(lines) == 2 and all(line.isprintable() for line in lines)
    assert "x" * 121 not in lines[1] and "(500 bytes: 'xxx" in lines[1]
    [_, fact] = records(FILES, tmp_path / "log")
    assert fact["entries"][1]["result"] == {"bytes": 500, "text": "x" * 500}  # type: ignore[index,call-overload]


def test_dump_from_an_lsn_and_up_to_damage(tmp_path: Path) -> None:
    assert next(fact["lsn"] for fact in records(FILES, GOLDEN, from_lsn=7)) == 7
    assert list(dump(FILES, GOLDEN, from_lsn=10_000)) == []
    shutil.copytree(GOLDEN, tmp_path / "log")
    path = tmp_path / "log" / "segment-000000000001.log"
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="PD0101"):
        list(dump(FILES, tmp_path / "log"))
