"""Cuts, flips and truncations at every position of a small log: all of a prefix comes back, or a refusal names the place.

After a clean stop everything bad is refused. After an unclean one a bad suffix behind the checkpoint is torn and cut.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.env.clock import SystemClock
from perdure.env.files import SystemFile, SystemFiles
from perdure.env.random import SystemRandom
from perdure.log.errors import LogCorrupt, LogError, LogFormatUnknown
from perdure.log.format import Durability, FrameKind, encode_body
from perdure.log.read import read_segments
from perdure.log.recovery import Survey, repair, survey
from perdure.log.segments import SegmentDirectory, body_room
from perdure.model.records import Record

from .conftest import OpenLog, flat, record

pytestmark = pytest.mark.slow


class UnsyncedFile(SystemFile):
    def datasync(self) -> None:
        pass

    def sync(self) -> None:
        pass


class UnsyncedFiles(SystemFiles):
    """The real disk without waiting for it: these tests damage bytes, thousands of times, and lose no power."""

    def open(self, path: Path, *, create: bool = False, write: bool = True) -> SystemFile:
        file = super().open(path, create=create, write=write)
        file.__class__ = UnsyncedFile
        return file

    def sync_directory(self, path: Path) -> None:
        pass


FILES = UnsyncedFiles()
FIRST, LAST = "segment-000000000001.log", "segment-000000000002.log"


async def write(open_log: OpenLog, directory: Path, *, clean: bool, batches: int = 6, **settings: object) -> list[int]:
    """A log of small batches, two records each, in one segment; returns the offset behind each batch."""
    settings = {"segment_first_bytes": 1024, "segment_bytes": 1024, **settings}
    log, _ = await open_log(FILES, directory, **settings)
    ends = []
    for number in range(batches):
        log.append(record(2 * number + 1, 3), awaited=False)
        log.append(record(2 * number + 2, 3))
        await log.sync()
        ends.append(log._active.position)
    await log.close(clean=clean)
    remove_spares(directory)
    return ends


def remove_spares(directory: Path) -> None:
    for spare in directory.glob("spare-*"):
        spare.unlink()


def recover(directory: Path, checkpoint_lsn: int = 0) -> list[tuple[int, Record]]:
    """What a node would read; everything of it must survive another crash, at once."""
    found = survey(FILES, directory, checkpoint_lsn)
    repair(FILES, directory, found)
    records = read_all(directory, found)
    again = survey(FILES, directory, checkpoint_lsn)
    assert not again.torn and read_all(directory, again) == records
    return records


def read_all(directory: Path, found: Survey) -> list[tuple[int, Record]]:
    return flat(list(read_segments(FILES, [each.path for each in found.segments], 1, found.next_lsn - 1)))


def original(count: int) -> list[tuple[int, Record]]:
    return [(number, record(number, 3)) for number in range(1, count + 1)]


class Victim:
    """A copy of a log in which one file is damaged, a fresh one each time."""

    def __init__(self, source: Path, work: Path) -> None:
        self._good = {path.name: path.read_bytes() for path in source.iterdir()}
        self._work = work
        work.mkdir()

    def damaged(self, name: str, data: bytes) -> Path:
        for old in self._work.iterdir():
            old.unlink()
        for each, good in self._good.items():
            (self._work / each).write_bytes(data if each == name else good)
        return self._work


def flips(data: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    for position in range(begin, end):
        yield position, data[:position] + bytes([data[position] ^ (1 << (position % 8))]) + data[position + 1 :]


def batch_at(position: int, ends: list[int]) -> int:
    """How many batches lie wholly before a byte."""
    return sum(end <= position for end in ends)


@pytest.mark.parametrize("mode", ["fsync", "os"])
async def test_after_a_clean_stop_every_flip_is_refused(open_log: OpenLog, tmp_path: Path, mode: str) -> None:
    ends = await write(open_log, tmp_path / "log", clean=True, durability=mode)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    for position, flipped in flips(data, 0, ends[-1] + 36):
        with pytest.raises((LogCorrupt, LogFormatUnknown), match=r"PD010[12].*segment-000000000001.log") as refusal:
            recover(victim.damaged(FIRST, flipped))
        expected = 0 if position < 64 else ([64, *ends][batch_at(position, ends)])
        assert refusal.value.offset == expected, position  # type: ignore[union-attr]
    # Behind the end mark nothing counts.
    for _, flipped in flips(data, ends[-1] + 36, len(data)):
        assert recover(victim.damaged(FIRST, flipped)) == original(12)


async def test_after_a_clean_stop_every_truncation_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    await write(open_log, tmp_path / "log", clean=True)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    for length in range(len(data)):
        with pytest.raises(LogCorrupt, match=rf"PD0101: {FIRST} is damaged at byte"):
            recover(victim.damaged(FIRST, data[:length]))


async def test_after_a_clean_stop_the_mark_itself_is_guarded(open_log: OpenLog, tmp_path: Path) -> None:
    await write(open_log, tmp_path / "log", clean=True)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / "clean-stop").read_bytes()
    for _, flipped in flips(data, 0, len(data)):
        with pytest.raises(LogCorrupt, match="clean-stop"):
            recover(victim.damaged("clean-stop", flipped))
    for length in range(len(data)):
        with pytest.raises(LogCorrupt, match="clean-stop"):
            recover(victim.damaged("clean-stop", data[:length]))


@pytest.mark.parametrize("checkpoint", [0, 4])
async def test_after_an_unclean_stop_every_truncation_gives_a_prefix(
    open_log: OpenLog, tmp_path: Path, checkpoint: int
) -> None:
    ends = await write(open_log, tmp_path / "log", clean=False)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    for length in range(len(data)):
        directory, whole = victim.damaged(FIRST, data[:length]), 2 * batch_at(length, ends)
        if length < 64 or whole < checkpoint:
            with pytest.raises(LogCorrupt, match=FIRST):
                recover(directory, checkpoint)
        else:
            assert recover(directory, checkpoint) == original(whole), length
            assert (directory / FIRST).stat().st_size == 1024


@pytest.mark.parametrize(("mode", "checkpoint"), [("fsync", 0), ("fsync", 12), ("os", 0), ("os", 4)])
async def test_after_an_unclean_stop_flips(open_log: OpenLog, tmp_path: Path, mode: str, checkpoint: int) -> None:
    ends = await write(open_log, tmp_path / "log", clean=False, durability=mode)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    for position, flipped in flips(data, 0, len(data)):
        directory, before = victim.damaged(FIRST, flipped), batch_at(position, ends)
        # Under fsync a good batch behind a bad one proves that the bad one was synced.
        loss = position < ends[-1] and (2 * before < checkpoint or (mode == "fsync" and before < 5))
        if position < 64 or loss:
            with pytest.raises(LogCorrupt, match=FIRST) as refusal:
                recover(directory, checkpoint)
            assert refusal.value.offset == (0 if position < 64 else [64, *ends][before])
        else:
            assert recover(directory, checkpoint) == original(min(12, 2 * before)), position


async def test_after_an_unclean_stop_zeros_from_any_position_give_a_prefix(open_log: OpenLog, tmp_path: Path) -> None:
    """A batch that reached the disk in part: everything behind a byte is still the zeros of before."""
    ends = await write(open_log, tmp_path / "log", clean=False)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    for position in range(64, len(data)):
        torn = data[:position] + bytes(len(data) - position)
        # A byte that is zero anyway does not show where the write broke off.
        recovered = recover(victim.damaged(FIRST, torn))
        whole = batch_at(len(torn.rstrip(b"\0")) if torn == data else position, ends)
        assert recovered in (original(2 * whole), original(2 * whole + 2)), position
        assert recovered == original(2 * whole) or torn[: ends[whole]] == data[: ends[whole]]


async def test_a_torn_last_batch_is_cut_and_the_log_goes_on(open_log: OpenLog, tmp_path: Path) -> None:
    ends = await write(open_log, tmp_path / "log", clean=False)
    path = tmp_path / "log" / FIRST
    data = bytearray(path.read_bytes())
    data[ends[-1] - 1] ^= 1
    path.write_bytes(data)
    log, _ = await open_log(segment_first_bytes=1024, segment_bytes=1024)
    assert log.found.torn and log.next_lsn == 11
    log.append(record(100))
    await log.close(clean=True)
    log, _ = await open_log(segment_first_bytes=1024, segment_bytes=1024)
    assert flat(list(log.read(1))) == [*original(10), (11, record(100))]


async def test_under_os_a_batch_that_was_cut_never_comes_back(open_log: OpenLog, tmp_path: Path) -> None:
    """Good batches behind a bad one are cut with it; writing a batch of the same size must not join them again."""
    small = {"segment_first_bytes": 1024, "segment_bytes": 1024, "durability": "os"}
    ends = await write(open_log, tmp_path / "log", clean=False, durability="os")
    path = tmp_path / "log" / FIRST
    data = bytearray(path.read_bytes())
    data[ends[3] + 50] ^= 1
    path.write_bytes(data)
    log, _ = await open_log(**small)
    assert log.next_lsn == 9
    log.append(record(9, 3))
    log.append(record(10, 3))
    await log.sync()
    assert log._active.position == ends[4], "the new batch ends exactly where the cut ones began"
    await log.close(clean=False)
    log, _ = await open_log(**small)
    assert log.next_lsn == 11


async def several(open_log: OpenLog, directory: Path, *, clean: bool, mode: str = "fsync") -> int:
    """A log of at least three segments; returns its last LSN."""
    log, _ = await open_log(FILES, directory, segment_first_bytes=512, segment_bytes=512, durability=mode)
    for number in range(1, 14):
        log.append(record(number, 3))
        await log.sync()
    assert log._active.header.number >= 3
    await log.close(clean=clean)
    remove_spares(directory)
    return 13


@pytest.mark.parametrize("mode", ["fsync", "os"])
@pytest.mark.parametrize("clean", [True, False])
async def test_a_segment_that_another_follows_is_whole(
    open_log: OpenLog, tmp_path: Path, clean: bool, mode: str
) -> None:
    """It was synced before the next began, in every mode: any flip up to its seal, any truncation is refused."""
    await several(open_log, tmp_path / "log", clean=clean, mode=mode)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    data = (tmp_path / "log" / FIRST).read_bytes()
    used = survey(FILES, tmp_path / "log", 0).segments[0].stop_offset + 36
    for _, flipped in flips(data, 0, used):
        with pytest.raises(LogError, match=FIRST):
            recover(victim.damaged(FIRST, flipped))
    for length in range(len(data)):
        with pytest.raises(LogCorrupt, match=FIRST):
            recover(victim.damaged(FIRST, data[:length]))


@pytest.mark.parametrize("clean", [True, False])
async def test_a_missing_segment(open_log: OpenLog, tmp_path: Path, clean: bool) -> None:
    last_lsn = await several(open_log, tmp_path / "log", clean=clean)
    names = sorted(path.name for path in (tmp_path / "log").glob("segment-*"))
    for name in names:
        work = tmp_path / "damaged"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(tmp_path / "log", work)
        (work / name).unlink()
        if name == names[-1] and not clean:
            # As if the last segment had never been made: only the store could tell.
            assert recover(work) == original(survey(FILES, work, 0).next_lsn - 1)
            with pytest.raises(LogError, match=f"PD0103.*LSN {last_lsn}"):
                survey(FILES, work, last_lsn)
        else:
            with pytest.raises(LogError, match=r"PD0101.*(missing|a seal)|PD0108"):
                recover(work)
    shutil.rmtree(tmp_path / "damaged")
    (tmp_path / "damaged").mkdir()
    if clean:
        shutil.copy(tmp_path / "log" / "clean-stop", tmp_path / "damaged")
        with pytest.raises(LogCorrupt, match="missing"):
            recover(tmp_path / "damaged")


async def test_a_segment_under_another_name_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    await several(open_log, tmp_path / "log", clean=False)
    shutil.copy(tmp_path / "log" / FIRST, tmp_path / "log" / LAST)
    with pytest.raises(LogCorrupt, match=f"{LAST}.*its header says segment 1"):
        recover(tmp_path / "log")


async def test_a_newer_format_is_refused_by_name(open_log: OpenLog, tmp_path: Path) -> None:
    await write(open_log, tmp_path / "log", clean=False)
    path = tmp_path / "log" / FIRST
    data = bytearray(path.read_bytes())
    data[8] = 2
    data[60:64] = zlib.crc32(data[:60]).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(LogFormatUnknown, match=r"PD0102.*log format 2"):
        recover(tmp_path / "log")


async def test_bytes_that_a_user_sent_cannot_pass_for_a_batch(open_log: OpenLog, tmp_path: Path) -> None:
    """A payload that is a copy of real batches of another log, in a batch that is then torn: still only a torn tail."""
    await write(open_log, tmp_path / "other", clean=False)
    batches = (tmp_path / "other" / FIRST).read_bytes()
    log, _ = await open_log()
    log.append(record(1))
    await log.sync()
    evil = record(2)
    evil.entries[1].result = batches  # type: ignore[union-attr]
    log.append(evil)
    await log.sync()
    await log.close(clean=False)
    path = tmp_path / "log" / FIRST
    data = bytearray(path.read_bytes())
    end = survey(FILES, tmp_path / "log", 0).segments[-1].stop_offset
    data[end - 1] ^= 1
    path.write_bytes(data)
    assert [lsn for lsn, _ in recover(tmp_path / "log")] == [1]


async def test_a_last_segment_from_an_earlier_clean_stop_is_refused(open_log: OpenLog, tmp_path: Path) -> None:
    """Intact, with an end mark, and old: the clean-stop file knows where the log really ended."""
    await write(open_log, tmp_path / "log", clean=True, batches=2)
    old = (tmp_path / "log" / FIRST).read_bytes()
    await write(open_log, tmp_path / "log", clean=True, batches=2)
    victim = Victim(tmp_path / "log", tmp_path / "damaged")
    with pytest.raises(LogCorrupt, match=rf"{FIRST}.*it ends here, but was closed in segment 1"):
        recover(victim.damaged(FIRST, old))


@pytest.mark.parametrize("mode", ["fsync", "os"])
def test_an_intact_batch_with_the_wrong_lsn_is_no_torn_write(tmp_path: Path, mode: Durability) -> None:
    directory = SegmentDirectory(FILES, tmp_path, clock=SystemClock(), random=SystemRandom(), segment_bytes=1024)
    active = directory.activate(directory.make_spare(), 1, 1, mode)
    active.append(1, 1, encode_body([record(1)]))
    offset = active.position
    active.append(3, 1, encode_body([record(3)]))
    active.file.close()
    with pytest.raises(LogCorrupt, match=r"LSN 3 where 2 must come") as refusal:
        recover(tmp_path)
    assert (refusal.value.segment, refusal.value.offset) == (FIRST, offset)


@pytest.mark.parametrize("rest", range(-2, 3))
def test_there_is_always_room_for_a_seal(tmp_path: Path, rest: int) -> None:
    directory = SegmentDirectory(FILES, tmp_path, clock=SystemClock(), random=SystemRandom(), segment_bytes=1024)
    active = directory.activate(directory.make_spare(), 1, 1, "fsync")
    body = encode_body([record(1)])
    filler = body_room(1024) - len(body) - 36 + rest
    active.append(1, 1, body)
    assert active.fits(filler) == (rest <= 0)
    if active.fits(filler):
        active.append(2, 1, bytes(filler))
        active.mark(FrameKind.SEAL, 3)
        active.file.close()
        assert active.path.stat().st_size == 1024
        assert survey(FILES, tmp_path, 0).segments[0].ending is FrameKind.SEAL
