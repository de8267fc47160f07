"""A disk that fails or fills up: a failed sync ends the log at once, a full disk lets running work finish."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from perdure.log.errors import LogFailed, LogStopped

from .conftest import OpenLog, WatchedFiles, flat, record


def failing(operation: str, prefix: str = "", *, times: int = 1_000_000):  # type: ignore[no-untyped-def]
    left = [times]

    def fail(happened: str, name: str) -> BaseException | None:
        if happened == operation and name.startswith(prefix) and left[0] > 0:
            left[0] -= 1
            return OSError(errno.EIO, "input/output error")
        return None

    return fail


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("operation", ["sync", "write"])
async def test_a_failed_write_or_sync_is_fatal_and_not_tried_again(
    open_log: OpenLog, operation: str, inline: bool
) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk)
    log.pace.force(inline=inline)
    log.append(record(1))
    await log.sync()
    disk.events.clear()
    disk.fail = failing(operation, times=1)  # the disk is well again at once: nobody may try
    log.append(record(2))
    with pytest.raises(LogStopped, match=r"PD0104.*input/output error"):
        await log.sync()
    with pytest.raises(LogStopped, match="PD0104"):
        log.append(record(3))
    with pytest.raises(LogStopped, match="PD0104"):
        await log.sync()
    assert [error.code for error in seen.failures] == ["PD0105"]
    assert seen.records == [(1, record(1))] and log.durable_lsn == 1
    await log.close(clean=True)
    assert disk.count(operation) == 1 and disk.count("sync") <= 1
    assert disk.count("rename", "clean-stop") == 0, "no clean stop after a failure"


async def test_after_a_failed_sync_the_next_run_writes_the_batch_again(open_log: OpenLog) -> None:
    """The page cache may show what the disk does not have, so what is read must be written and synced before it counts."""
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    log.append(record(1))
    await log.sync()
    disk.fail = failing("sync")
    log.append(record(2))
    with pytest.raises(LogStopped):
        await log.sync()
    await log.close(clean=False)
    again = WatchedFiles()
    log, _ = await open_log(again)
    assert log.next_lsn == 3
    read, rewritten, reopened, probes = ["open"], ["open", "write", "sync"], ["open"], 3 * ["write", "sync"]
    on_segment = [operation for operation, name in again.events if name.startswith("segment")]
    assert on_segment == read + rewritten + reopened + probes


@pytest.mark.parametrize(("mode", "begin"), [("fsync", 2), ("os", 0)])
async def test_all_that_may_be_unsynced_is_written_again(open_log: OpenLog, mode: str, begin: int) -> None:
    """Under `fsync` only the last batch can be; under `os` anything of the last segment."""
    log, _ = await open_log(durability=mode)
    offsets = []
    for number in range(1, 4):
        offsets.append(log._active.position)
        log.append(record(number))
        await log.sync()
    end = log._active.position
    await log.close(clean=False)
    disk = WatchedFiles()
    await open_log(disk, durability=mode)
    assert disk.written[0] == ("segment-000000000001.log", offsets[begin], end - offsets[begin])


async def test_read_ends_before_a_batch_that_is_written_and_not_synced(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    log.append(record(1))
    await log.sync()
    disk.fail = failing("sync")
    log.append(record(2))
    with pytest.raises(LogStopped):
        await log.sync()
    assert flat(list(log.read(1))) == [(1, record(1))]


async def test_a_sync_that_is_waited_for_fails_when_the_disk_does(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk, durability="os")
    log.append(record(1))
    await seen.until(lambda: log.durable_lsn == 1)
    disk.fail = failing("sync")
    with pytest.raises(LogStopped, match="PD0104"):
        await log.sync()
    assert len(seen.failures) == 1


async def fill_segments(log, first: int, segments: int) -> int:  # type: ignore[no-untyped-def]
    """Append until that many new segments began; returns the next number."""
    number, target = first, log._active.header.number + segments
    while log._active.header.number < target:
        log.append(record(number, 300))
        await log.sync()
        number += 1
    return number


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_uses_the_reserve_and_recovers_when_space_returns(open_log: OpenLog, error: int) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk, space_retry_ms=1)
    number = await fill_segments(log, 1, 1)
    await log._quiet()
    assert log.accepting and len(log._spares) == 1
    full = [True]
    disk.fail = lambda operation, name: OSError(error, "full") if full[0] and operation == "create" else None  # type: ignore
    number = await fill_segments(log, number, 1)
    await log._quiet()
    assert not log.accepting, "the reserve is in use and cannot be replaced"
    before = number
    while log._active.fits(600):
        log.append(record(number, 300))
        await log.sync()
        number += 1
    assert number > before, "what runs goes on in the reserve"

    waiting = [log.append(record(each, 1000)) for each in range(number, number + 4)]
    sync = asyncio.ensure_future(log.sync())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not sync.done() and log.durable_lsn < waiting[0] and seen.failures == []
    full[0] = False
    await sync
    assert log.accepting
    assert [lsn for lsn, _ in flat(list(log.read(1)))] == list(range(1, log.next_lsn))


async def test_a_file_that_was_begun_on_a_full_disk_is_removed(open_log: OpenLog, tmp_path: Path) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    disk.full = True
    log.append(record(1, 800))
    await log.sync()
    await log._quiet()
    assert not log.accepting
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["lock", "segment-000000000001.log"]


async def test_trimming_makes_space_on_a_full_disk(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk, segment_first_bytes=4096)
    number = await fill_segments(log, 1, 1)
    await log._quiet()
    disk.full = True
    await fill_segments(log, number, 1)
    await log._quiet()
    assert not log.accepting
    log.trim(log.durable_lsn)
    await log._quiet()
    assert log.accepting and len(log._spares) == 2


async def test_another_error_while_preparing_a_segment_is_fatal(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk)
    disk.fail = failing("create", "spare")
    log.append(record(1, 800))
    await seen.until(lambda: bool(seen.failures))
    assert seen.failures[0].code == "PD0105"


async def test_a_clean_stop_on_a_full_disk_is_only_not_marked(open_log: OpenLog, tmp_path: Path) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk)
    log.append(record(1))
    disk.full = True
    await log.close(clean=True)
    assert seen.records == [(1, record(1))]
    log, _ = await open_log()
    assert not log.found.clean and log.next_lsn == 2


async def test_a_clean_stop_that_cannot_be_marked_says_so_and_lets_go(open_log: OpenLog, tmp_path: Path) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk)
    log.append(record(1))
    disk.fail = failing("rename", "clean-stop")
    with pytest.raises(LogFailed):
        await log.close(clean=True)
    log, _ = await open_log()  # the lock is free
    assert not log.found.clean and log.next_lsn == 2


async def test_closing_gives_up_what_waits_for_space_and_says_nothing_false(open_log: OpenLog) -> None:
    disk = WatchedFiles()
    log, _ = await open_log(disk, segment_first_bytes=4096)
    number = await fill_segments(log, 1, 1)
    await log._quiet()
    disk.full = True
    await fill_segments(log, number, 1)
    log.append(record(99, 2500))
    log.append(record(99, 2500))
    closing = asyncio.ensure_future(log.close(clean=True))
    for _ in range(50):
        await asyncio.sleep(0)
    durable = log.durable_lsn
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    log, _ = await open_log(segment_first_bytes=4096)
    assert log.next_lsn >= durable + 1 and not log.found.clean


@pytest.mark.parametrize("step", ["rename", "sync_directory", "sync", "write"])
async def test_a_failure_while_a_segment_is_started_loses_nothing(open_log: OpenLog, step: str) -> None:
    disk = WatchedFiles()
    log, seen = await open_log(disk)
    number = await fill_segments(log, 1, 1)
    await log._quiet()
    while log._active.fits(700):
        log.append(record(number, 300))
        await log.sync()
        number += 1
    disk.fail = failing(step)
    log.append(record(number, 600))
    with pytest.raises(LogStopped):
        await log.sync()
    assert len(seen.failures) == 1
    acknowledged = seen.records
    await log.close(clean=False)
    log, _ = await open_log()
    assert flat(list(log.read(1)))[: len(acknowledged)] == acknowledged
    log.append(record(1000))
    await log.sync()
