"""Segment files over the life of a log: batches and syncs, rotation, recycling, stops and starts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.env.files import SystemFiles
from perdure.log.errors import LogLocked, LogTrimmed, StoreAheadOfLog
from perdure.log.pace import SyncPace
from perdure.log.recovery import survey

from .conftest import OpenLog, WatchedFiles, flat, record


def segments(directory: Path) -> list[str]:
    return [path.name for path in sorted(directory.glob("segment-*.log"))]


async def test_one_sync_makes_many_records_durable(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk, segment_first_bytes=1 << 20, segment_bytes=1 << 20)
    await log._quiet()  # the reserve is made
    disk.events.clear()

    async def producer(number: int) -> None:
        for step in range(10):
            lsn = log.append(record(number * 10 + step))
            await seen.until(lambda lsn=lsn: log.durable_lsn >= lsn)

    await asyncio.gather(*(producer(number) for number in range(32)))
    assert len(seen.records) == 320
    assert disk.count("sync") == len(seen.batches) == disk.count("write")
    assert len(seen.batches) < 320 / 4


@pytest.mark.parametrize("inline", [True, False])
async def test_what_is_appended_while_a_sync_is_in_flight_shares_the_next(open_log: OpenLog, inline: bool) -> None:
    log, seen = await open_log()
    log.pace.force(inline=inline)
    log.append(record(1))
    for _ in range(2):
        await asyncio.sleep(0)
    for number in range(2, 10):
        log.append(record(number))
    await log.sync()
    assert [len(records) for _, records in seen.batches] == [1, 8]


async def test_no_record_is_acknowledged_before_its_sync(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk)
    synced: list[int] = []
    disk.fail = lambda operation, name: synced.append(len(seen.batches)) if operation == "sync" else None  # type: ignore
    for number in range(1, 4):
        log.append(record(number))
        await log.sync()
    assert synced == [0, 1, 2]


async def test_os_mode_syncs_only_when_asked(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk, durability="os")
    disk.events.clear()
    for number in range(1, 6):
        log.append(record(number))
        await seen.until(lambda number=number: log.durable_lsn == number)
    assert (disk.count("write"), disk.count("sync")) == (5, 0)
    await log.sync()
    assert disk.count("sync") == 1


async def test_a_full_segment_is_sealed_and_the_next_follows(open_log: OpenLog, tmp_path: Path) -> None:
    log, seen = await open_log()
    for number in range(1, 41):
        log.append(record(number, 300))
        await log.sync()
    assert len(segments(tmp_path / "log")) > 2
    assert flat(list(log.read(1))) == seen.records == [(number, record(number, 300)) for number in range(1, 41)]
    await log.close(clean=False)
    found = survey(SystemFiles(), tmp_path / "log", 0)
    assert found.next_lsn == 41 and not found.torn
    log, _ = await open_log()
    assert log.next_lsn == 41 and flat(list(log.read(1))) == seen.records


async def test_a_new_segment_is_named_durably_before_its_first_batch_counts(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    for number in range(1, 30):
        log.append(record(number, 300))
        await log.sync()
    events = disk.events
    activations = [at for at, event in enumerate(events) if event[0] == "rename" and event[1].startswith("segment")]
    assert len(activations) > 2
    for at in activations:
        name = events[at][1]
        header = [event for event in events[at - 3 : at] if event[0] in ("write", "sync")]
        assert [operation for operation, _ in header] == ["write", "sync"], "the header is synced before the rename"
        following = [event for event in events[at + 1 :] if event[1] in (name, "log")]
        assert following[0] == ("sync_directory", "log")


async def test_the_first_segment_is_small_and_its_successor_is_prepared_while_it_fills(
    open_log: OpenLog, tmp_path: Path
) -> None:
    log, _ = await open_log()
    assert segments(tmp_path / "log") == ["segment-000000000001.log"]
    assert (tmp_path / "log" / "segment-000000000001.log").stat().st_size == 2048
    assert list((tmp_path / "log").glob("spare*")) == []
    log.append(record(1, 800))
    await log.sync()
    await log._quiet()
    [spare] = (tmp_path / "log").glob("spare*")
    assert spare.stat().st_size == 4096 and not any(spare.read_bytes())


async def test_trimmed_segments_are_used_again_with_a_new_salt(open_log: OpenLog, tmp_path: Path) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk, segment_first_bytes=4096)
    salts: dict[str, bytes] = {}
    for number in range(1, 200):
        log.append(record(number, 300))
        await log.sync()
        for name in segments(tmp_path / "log"):
            salts[name] = (tmp_path / "log" / name).read_bytes()[40:48]
        log.trim(number - 5)
        await log._quiet()
    assert len(segments(tmp_path / "log")) <= 3
    assert len(salts) > 15 and len(set(salts.values())) == len(salts)
    assert disk.count("create", "spare") < len(salts) / 2, "most lives begin in a recycled file"
    assert [lsn for lsn, _ in flat(list(log.read(195)))] == list(range(195, 200))
    await log.close(clean=False)
    log, _ = await open_log(checkpoint_lsn=190)
    assert log.next_lsn == 200


async def test_trimming_leaves_no_gap_at_any_crash(open_log: OpenLog) -> None:
    """Oldest first, and the name of each is gone for good before the next one goes."""
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    for number in range(1, 100):
        log.append(record(number, 300))
        await log.sync()
    await log._quiet()
    disk.events.clear()
    count = len(log._segments) - 1
    log.trim(99)
    await log._quiet()
    assert [operation for operation, _ in disk.events if operation != "rename"].count("sync_directory") == count > 3
    removals = [each for each in disk.events if each[0] in ("rename", "unlink", "sync_directory")]
    assert all(each[0] != "sync_directory" for each in removals[::2])
    assert all(each[0] == "sync_directory" for each in removals[1::2])
    unlinked = [name for operation, name in removals if operation == "unlink"]
    assert unlinked == sorted(unlinked)


async def test_a_batch_of_an_earlier_life_cannot_count(open_log: OpenLog, tmp_path: Path) -> None:
    """The same records at the same places under the same LSNs: only the salt tells the lives apart."""
    directory = tmp_path / "log"
    log, _ = await open_log(segment_bytes=2048)
    for number in range(1, 6):
        log.append(record(number))
        await log.sync()
    await log.close(clean=False)
    first_life = (directory / "segment-000000000001.log").read_bytes()
    for spare in directory.glob("spare-*"):
        spare.unlink()
    (directory / "segment-000000000001.log").rename(directory / "spare-000000000007.log")

    log, _ = await open_log(segment_bytes=2048)
    for number in range(1, 3):
        log.append(record(number))
        await log.sync()
    end = log._active.position
    await log.close(clean=False)
    data = (directory / "segment-000000000001.log").read_bytes()
    assert data[end:] == first_life[end:] and any(data[end:])
    log, _ = await open_log(segment_bytes=2048)
    assert log.next_lsn == 3
    assert flat(list(log.read(1))) == [(1, record(1)), (2, record(2))]


async def test_keep_bytes_keeps_trimmed_segments(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log(keep_bytes=3 * 4096)
    for number in range(1, 100):
        log.append(record(number, 300))
        await log.sync()
    log.trim(99)
    assert len(segments(tmp_path / "log")) >= 4
    assert log.first_lsn < 90
    assert [lsn for lsn, _ in flat(list(log.read(log.first_lsn)))] == list(range(log.first_lsn, 100))


async def test_after_a_clean_stop_it_goes_on_where_it_ended(open_log: OpenLog, tmp_path: Path) -> None:
    everything = []
    for life in range(5):
        log, _ = await open_log(checkpoint_lsn=len(everything))
        assert log.next_lsn == len(everything) + 1
        assert log.found.clean == (life > 0)
        for number in range(7):
            everything.append(record(life * 10 + number, 200))
            log.append(everything[-1], awaited=False)
        await log.close(clean=True)
        assert (tmp_path / "log" / "clean-stop").exists()
    log, _ = await open_log()
    assert not (tmp_path / "log" / "clean-stop").exists()
    assert [each for _, each in flat(list(log.read(1)))] == everything


async def test_stops_without_records_between_them(open_log: OpenLog) -> None:
    for clean in (True, False, True, True, False):
        log, _ = await open_log()
        assert log.next_lsn == 1
        await log.close(clean=clean)


async def test_the_durability_mode_may_change_between_runs(open_log: OpenLog, tmp_path: Path) -> None:
    for life, mode in enumerate(["fsync", "os", "fsync"]):
        log, _ = await open_log(durability=mode)
        log.append(record(life))
        await log.sync()
        await log.close(clean=life % 2 == 0)
    found = survey(SystemFiles(), tmp_path / "log", 0)
    assert [(each.header.durability, each.records) for each in found.segments] == [
        ("fsync", 1),
        ("os", 1),
        ("fsync", 1),
    ]
    log, _ = await open_log(durability="fsync")
    assert flat(list(log.read(1))) == [(1, record(0)), (2, record(1)), (3, record(2))]


async def test_a_directory_belongs_to_one_process(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    with pytest.raises(LogLocked, match=r"PD0106.*process \d+"):
        await open_log()
    await log.close(clean=True)
    await open_log()


async def test_the_lock_holds_against_another_process_and_ends_with_it(open_log: OpenLog, tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\nfrom perdure.env.files import SystemFiles\n"
        "lock = SystemFiles().lock(pathlib.Path(sys.argv[1]))\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    (tmp_path / "log").mkdir()
    other = subprocess.Popen(  # noqa: ASYNC220 it is over in milliseconds
        [sys.executable, "-c", program, str(tmp_path / "log" / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"locked\n"
    with pytest.raises(LogLocked, match=f"process {other.pid}"):
        await open_log()
    other.kill()
    other.communicate()
    await open_log()


async def test_a_store_ahead_of_the_log_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    with pytest.raises(StoreAheadOfLog, match=r"PD0103.*LSN 5.*LSN 0"):
        await open_log(checkpoint_lsn=5)
    log, _ = await open_log()
    log.append(record(1))
    await log.close(clean=True)
    with pytest.raises(StoreAheadOfLog, match=r"PD0103.*LSN 2.*LSN 1.*segment-000000000001.log"):
        await open_log(checkpoint_lsn=2)


async def test_a_log_that_begins_behind_the_store_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    log, _ = await open_log()
    for number in range(1, 40):
        log.append(record(number, 300))
        await log.sync()
    log.trim(30)
    first = log.first_lsn
    await log.close(clean=True)
    with pytest.raises(LogTrimmed, match=f"PD0108.*LSN 1 .*LSN {first}"):
        await open_log(checkpoint_lsn=0)
    await open_log(checkpoint_lsn=first - 1)


async def test_files_under_construction_and_strange_spares_are_cleared_away(open_log: OpenLog, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    (directory / "spare-000000000003.log.new").write_bytes(b"half")
    (directory / "spare-000000000004.log").write_bytes(b"wrong size")
    (directory / "spare-000000000005.log").write_bytes(b"s" * 4096)
    (directory / "notes.txt").write_text("not ours")
    log, _ = await open_log()
    await log._quiet()
    assert log.next_lsn == 1
    made = "spare-000000000006.log"
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["lock", "notes.txt", "segment-000000000001.log", made], "spare 5 became the segment"


class SteppedClock:
    def __init__(self) -> None:
        self.at = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return self.at


def timed(pace: SyncPace, clock: SteppedClock, seconds: float, times: int = 1) -> bool:
    for _ in range(times):
        with pace:
            clock.at += seconds
    return pace.inline


def test_syncs_run_inline_on_a_fast_disk_and_beside_the_loop_on_a_slow_one() -> None:
    clock = SteppedClock()
    assert timed(SyncPace(clock), clock, 0.0002, 3)
    assert not timed(SyncPace(clock), clock, 0.004, 3)
    pace = SyncPace(clock)
    for seconds in (0.1, 0.0002, 0.0002):
        timed(pace, clock, seconds)
    assert pace.inline, "the fastest probe counts"
    timed(pace, clock, 0.05)
    timed(pace, clock, 0.0002, 12)
    assert pace.inline, "one slow sync does not decide for long"
    assert not timed(pace, clock, 0.004, 20)
    assert not timed(pace, clock, 0.0009, 100), "near the bound it stays as it is"
    assert timed(pace, clock, 0.0002, 20)
