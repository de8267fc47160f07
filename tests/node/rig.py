"""Engines for tests: real ones, on virtual time, in memory or on a directory, and what a crash leaves of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import perdure
from perdure.env.files import Files, SystemFiles
from perdure.log.segment_log import SegmentLog
from perdure.model.ids import parse_invocation_id
from perdure.model.journal import Completion, Entry, Failure, Signal
from perdure.model.limits import SEGMENT_FIRST_BYTES
from perdure.model.records import Record
from perdure.model.target import Target
from perdure.node.data_directory import DataDirectory
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped
from perdure.node.requests import NewInvocation
from perdure.node.settings import EngineSettings
from perdure.partition.invariants import check_partition
from perdure.sdk.service import Registry
from perdure.store.rows import Invocation, Status

from .virtual import InlineExecutor, SeededRandom, VirtualClock


def make_engine(
    services: Iterable[Registry],
    data: Path | None = None,
    *,
    files: Files | None = None,
    clock: VirtualClock | None = None,
    executor: InlineExecutor | None = None,
    seed: int = 1,
    **settings: Any,
) -> Engine:
    """An engine that checks the invariants after every record, on the virtual loop that runs."""
    settings = {
        "segment_bytes": SEGMENT_FIRST_BYTES,
        "durability": "os",
        "dev": True,
        "checkpoint_interval_ms": 60_000,
        "loop_stall_ms": 0,
        **settings,
    }
    return Engine(
        EngineSettings(data=data, **settings),
        perdure.app(services, dev=False),
        clock=clock or VirtualClock(asyncio.get_running_loop()),
        files=files,
        random=SeededRandom(seed),
        executor=executor or InlineExecutor(),
    )


@asynccontextmanager
async def running(services: Iterable[Registry], data: Path | None = None, **options: Any) -> AsyncIterator[Engine]:
    """A started engine; stopped and checked as a whole at the end, unless it has ended before."""
    engine = make_engine(services, data, **options)
    await engine.start()
    try:
        yield engine
        check_all(engine)
    finally:
        await engine.stop(grace_s=0)


async def abandon(engine: Engine) -> None:
    """Take an engine away without its goodbye: nothing more is written, the directory is free again."""
    engine._fail(NodeStopped("abandoned by a test."))
    await engine.stop()


def check_all(engine: Engine) -> None:
    for tables in engine.store.tables:
        check_partition(tables, range(1, tables.meta.next_seq))


def image(data: Path, copy: Path) -> Path:
    """What `kill -9` would leave of a directory now: nothing is acknowledged before its bytes are in the file."""
    shutil.copytree(data, copy)
    return copy


async def directory_of(records: list[Record], data: Path, *, partitions: int = 1) -> Path:
    """A data directory whose log holds these records, each a batch of its own, as a crash behind the last left it."""
    files, executor, loop = SystemFiles(), InlineExecutor(), asyncio.get_running_loop()
    directory = DataDirectory(data, files, partitions)
    log = await SegmentLog.open(
        files,
        directory.log,
        loop=loop,
        executor=executor,
        clock=VirtualClock(loop),
        random=SeededRandom(7),
        durability="os",
        segment_bytes=SEGMENT_FIRST_BYTES,
        on_durable=lambda lsn, batch: None,
        on_failure=lambda error: None,
    )
    for record in records:
        log.append(record)
        await log.sync()
    await log.close(clean=False)
    directory.release()
    return data


def log_of(engine: Engine) -> list[Record]:
    return [record for _, records in engine.log.read(1) for record in records]


# --- asking ---------------------------------------------------------------------------------------------------------------


def request(path: str, arg: Any = None, **options: Any) -> NewInvocation:
    """`Service/handler` or `Object/key/handler`."""
    service, *key, handler = path.split("/")
    body = b"" if arg is None else json.dumps(arg).encode()
    return NewInvocation(Target(service, key[0] if key else None, handler), body, "application/json", **options)


def value(result: Any) -> Any:
    """The result of an invocation as a Python value; a failure as (code, message)."""
    if isinstance(result, Failure):
        return (result.code, result.message)
    return json.loads(result) if result else None


async def call(engine: Engine, path: str, arg: Any = None, **options: Any) -> Any:
    return value((await engine.call(request(path, arg, **options))).result)


async def send(engine: Engine, path: str, arg: Any = None, **options: Any) -> bytes:
    return (await engine.send(request(path, arg, **options))).invocation_id


async def result_of(engine: Engine, invocation: bytes | str) -> Any:
    raw = parse_invocation_id(invocation) if isinstance(invocation, str) else invocation
    return value((await engine.attach(raw)).result)


def row_of(engine: Engine, invocation_id: bytes) -> Invocation:
    row = engine.find(invocation_id)
    assert row is not None
    return row


async def until(condition: Callable[[], bool], *, within_s: float = 10_000.0) -> None:
    """Let virtual time pass, event by event, until `condition` holds."""
    loop = asyncio.get_running_loop()
    deadline, step_s = loop.time() + within_s, 0.001
    while not condition():
        assert loop.time() < deadline, "it did not come to that"
        await asyncio.sleep(step_s)
        step_s = min(step_s * 1.1, 10.0)


async def until_status(engine: Engine, invocation_id: bytes, status: Status) -> Invocation:
    await until(lambda: row_of(engine, invocation_id).status is status)
    return row_of(engine, invocation_id)


def commands_of(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """What a handler asked, in order, without what it was told."""
    return [(type(entry).__name__, entry.name) for entry in entries if not isinstance(entry, Completion | Signal)]
