"""What every log does, whatever stands behind it. Both implementations run all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from perdure.env.clock import SystemClock
from perdure.env.executor import ThreadExecutor
from perdure.env.files import SystemFiles
from perdure.env.random import SystemRandom
from perdure.log.errors import LogStopped, LogTrimmed, RecordRefused
from perdure.log.log import Log
from perdure.log.memory import MemoryLog
from perdure.log.segment_log import SegmentLog
from perdure.log.segments import body_room
from perdure.model.journal import SetState
from perdure.model.records import Progress

from .conftest import Seen, flat, record

SEGMENT_BYTES = 64 * 1024


def linger_ms(request: pytest.FixtureRequest) -> float:
    """An hour where a test shows that something does not wait for the linger, else the default."""
    return 3_600_000 if any(word in request.node.name for word in ("hurry", "sync_takes", "at_once")) else 5


@pytest.fixture(params=["memory", "segments", "segments-os"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, executor: ThreadExecutor
) -> AsyncIterator[tuple[Log, Seen]]:
    seen = Seen()
    loop = asyncio.get_running_loop()
    log: Log
    if request.param == "memory":
        log = MemoryLog(
            loop=loop,
            on_durable=seen.on_durable,
            on_failure=seen.on_failure,
            on_refused=seen.on_refused,
            body_bytes_max=body_room(SEGMENT_BYTES),
            linger_ms=linger_ms(request),
        )
    else:
        log = await SegmentLog.open(
            SystemFiles(),
            tmp_path,
            loop=loop,
            executor=executor,
            clock=SystemClock(),
            random=SystemRandom(),
            on_durable=seen.on_durable,
            on_failure=seen.on_failure,
            on_refused=seen.on_refused,
            durability="os" if request.param == "segments-os" else "fsync",
            segment_first_bytes=4096,
            segment_bytes=SEGMENT_BYTES,
            linger_ms=linger_ms(request),
        )
    yield log, seen
    await log.close(clean=False)


async def test_an_empty_log(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    assert (log.next_lsn, log.durable_lsn, log.first_lsn, log.accepting) == (1, 0, 1, True)
    await log.sync()
    assert list(log.read(1)) == []
    assert seen.batches == []


async def test_lsns_number_the_records_and_durable_follows(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    assert [log.append(record(number)) for number in (1, 2, 3)] == [1, 2, 3]
    assert (log.next_lsn, log.durable_lsn) == (4, 0)
    assert seen.batches == [], "nothing is durable before the loop has run"
    await seen.until(lambda: log.durable_lsn == 3)
    assert seen.records == [(1, record(1)), (2, record(2)), (3, record(3))]


async def test_what_is_appended_together_is_one_batch(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    for number in range(1, 51):
        log.append(record(number))
    await log.sync()
    assert [len(records) for _, records in seen.batches] == [50]


async def test_records_appended_by_the_callback_go_out_too(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    told = seen.on_durable

    def chain(first_lsn: int, records: list) -> None:  # type: ignore[type-arg]
        told(first_lsn, records)
        if log.next_lsn <= 20:
            log.append(record(log.next_lsn))

    log._on_durable = chain  # type: ignore[attr-defined]
    log.append(record(1))
    await seen.until(lambda: log.durable_lsn == 20)
    assert [lsn for lsn, _ in seen.records] == list(range(1, 21))


async def test_a_record_that_nobody_awaits_rides_with_the_next(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    log.append(record(2))
    await seen.until(lambda: log.durable_lsn == 2)
    assert [len(records) for _, records in seen.batches] == [2]


async def test_a_record_that_nobody_awaits_follows_by_itself_later(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    await seen.until(lambda: log.durable_lsn == 1)


async def test_a_record_that_nobody_awaits_starts_nothing_at_once(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    for _ in range(10):
        await asyncio.sleep(0)
    assert seen.batches == [] and log.is_pending(1)


async def test_hurry_sends_off_what_nobody_awaited(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    log.hurry()
    log.append(record(2), awaited=False)
    for _ in range(3):
        await asyncio.sleep(0)
    await seen.until(lambda: log.durable_lsn == 2)
    assert [len(records) for _, records in seen.batches] == [2]
    log.hurry()
    await log.sync()
    assert len(seen.batches) == 1, "nothing pending, nothing sent"


async def test_sync_takes_along_what_nobody_awaits(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    await log.sync()
    assert log.durable_lsn == 1 and seen.records == [(1, record(1))]


async def test_a_pending_record_may_still_change(opened: tuple[Log, Seen]) -> None:
    log, _ = opened
    first = record(1)
    lsn = log.append(first, awaited=False)
    assert log.is_pending(lsn) and not log.is_pending(lsn + 1) and not log.is_pending(0)
    first.entries.append(SetState("k", b"merged"))
    await log.sync()
    assert not log.is_pending(lsn)
    first.entries.append(SetState("k", b"too late"))
    [(_, [stored])] = log.read(1)
    assert isinstance(stored, Progress) and stored.entries[2:] == [SetState("k", b"merged")]


async def test_read_begins_inside_a_batch(opened: tuple[Log, Seen]) -> None:
    log, _ = opened
    for number in range(1, 6):
        log.append(record(number))
    await log.sync()
    log.append(record(6))
    await log.sync()
    assert [lsn for lsn, _ in flat(list(log.read(4)))] == [4, 5, 6]
    assert flat(list(log.read(1))) == [(number, record(number)) for number in range(1, 7)]
    assert list(log.read(7)) == []


async def test_read_ends_at_what_is_durable(opened: tuple[Log, Seen]) -> None:
    log, _ = opened
    log.append(record(1))
    await log.sync()
    log.append(record(2))
    assert [lsn for lsn, _ in flat(list(log.read(1)))] == [1]


@pytest.mark.parametrize(
    "poison",
    [
        lambda each: each.entries.append(SetState("\ud800", b"")),
        lambda each: each.entries.append(object()),
        lambda each: setattr(each, "at_ms", 1 << 70),
    ],
    ids=["surrogate", "object", "integer"],
)
async def test_a_record_that_cannot_be_encoded_is_refused_to_its_proposer(
    opened: tuple[Log, Seen], poison: Callable[[Progress], None]
) -> None:
    log, seen = opened
    bad = record(2)
    poison(bad)
    log.append(record(1))
    with pytest.raises(RecordRefused, match="PD0107"):
        log.append(bad)
    assert log.append(record(2)) == 2
    await log.sync()
    assert seen.records == [(1, record(1)), (2, record(2))]


async def test_a_pending_record_that_was_spoilt_leaves_a_void(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    bad = record(2)
    log.append(record(1))
    log.append(bad)
    log.append(record(3))
    bad.entries.append(SetState("\ud800", b""))
    await log.sync()
    assert seen.refused == [2] and seen.failures == []
    assert seen.batches == [(1, [record(1)]), (3, [record(3)])]
    assert list(log.read(1)) == [(1, [record(1)]), (3, [record(3)])]
    assert list(log.read(2)) == [(3, [record(3)])]
    assert log.append(record(4)) == 4


async def test_a_record_over_the_limit_is_refused_with_its_size(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    with pytest.raises(RecordRefused, match=r"bytes, at most \d+ fit"):
        log.append(record(1, SEGMENT_BYTES))
    log.append(record(1, SEGMENT_BYTES - 400))
    await log.sync()
    assert seen.records == [(1, record(1, SEGMENT_BYTES - 400))]


async def test_a_pending_record_that_grew_over_the_limit_leaves_a_void(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    large = record(2)
    log.append(record(1))
    log.append(large)
    log.append(record(3))
    large.entries.append(SetState("k", b"x" * SEGMENT_BYTES))
    await log.sync()
    assert seen.refused == [2]
    assert seen.records == [(1, record(1)), (3, record(3))]


async def test_too_much_for_one_batch_goes_out_in_several(opened: tuple[Log, Seen]) -> None:
    log, seen = opened
    size = SEGMENT_BYTES // 4
    for number in range(1, 31):
        log.append(record(number, size), awaited=number % 3 == 0)
    await log.sync()
    assert len(seen.batches) >= 10
    assert [lsn for lsn, _ in seen.records] == list(range(1, 31))
    assert flat(list(log.read(1))) == [(number, record(number, size)) for number in range(1, 31)]


async def test_what_is_trimmed_may_be_gone_and_the_rest_is_not(opened: tuple[Log, Seen]) -> None:
    log, _ = opened
    for number in range(1, 61):
        log.append(record(number, 3000))
        await log.sync()
    log.trim(40)
    assert 1 < log.first_lsn <= 41
    with pytest.raises(LogTrimmed, match="PD0108"):
        log.read(log.first_lsn - 1)
    assert [lsn for lsn, _ in flat(list(log.read(41)))] == list(range(41, 61))
    log.trim(1_000)
    assert log.first_lsn <= 61 and log.append(record(61)) == 61


@pytest.mark.parametrize("clean", [True, False])
async def test_a_closed_log_says_so(opened: tuple[Log, Seen], clean: bool) -> None:
    log, seen = opened
    log.append(record(1), awaited=False)
    await log.close(clean=clean)
    if clean:
        assert seen.records == [(1, record(1))], "a clean close makes durable what was appended"
    with pytest.raises(LogStopped, match="PD0104"):
        log.append(record(2))
    await log.close(clean=clean)
