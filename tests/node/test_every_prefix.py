"""Whatever prefix of the log a crash leaves: the end is the same, and nothing recorded happens again (req 4.10, 4.17)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure.model import journal as j
from perdure.model.records import Invoke, Progress, Record
from perdure.node.engine import Engine
from perdure.store.rows import Status

from . import corpus
from .corpus import ROOTS, SERVICES
from .rig import call, commands_of, directory_of, log_of, result_of, running, until
from .virtual import DAY, SECOND, VirtualClock, in_virtual_time


def results_in(records: list[Record]) -> set[str]:
    """Names of the steps whose result these records hold."""
    names: dict[tuple[int, int, int], str] = {}
    done: set[str] = set()
    for record in records:
        if isinstance(record, Progress):
            for entry in record.entries:
                if isinstance(entry, j.Run):
                    names[record.partition, record.seq, entry.completion_id] = entry.name
                elif isinstance(entry, j.Completion) and entry.code == j.CompletionCode.RUN:
                    done.add(names[record.partition, record.seq, entry.completion_id])
    return done


def journals(engine: Engine) -> dict[str, list[tuple[str, str]]]:
    """What every invocation asked, by target (those of one target in any order)."""
    found: dict[str, Any] = {}
    for tables in engine.store.tables:
        for seq in range(1, tables.meta.next_seq):
            row = tables.invocation(seq)
            assert row is not None
            commands = commands_of(tables.journal(seq).entries)
            # How many durable timers stand behind asyncio's own depends on how late it is.
            asked = [command for command in commands if command != ("Sleep", "timer")]
            found.setdefault(str(row.target), []).append(asked)
    return {target: sorted(each) for target, each in found.items()}


@pytest.mark.parametrize("partitions", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("root", ROOTS)
@in_virtual_time
async def test_every_prefix_of_the_log_leads_to_the_same_end(root: str, partitions: int, tmp_path: Path) -> None:
    corpus.ran.clear()
    async with running(SERVICES, partitions=partitions, checkpoint_interval_ms=DAY) as engine:
        expected = await call(engine, root, ROOTS[root])
        await _rest(engine)
        records, asked, ran = log_of(engine), journals(engine), dict(corpus.ran)
    assert set(ran.values()) <= {1}, "without a crash each step runs once"
    root_id, first = next((r.request.invocation_id, at) for at, r in enumerate(records) if isinstance(r, Invoke))

    for length in range(first + 1, len(records) + 1):
        prefix = records[:length]
        data = await directory_of(prefix, tmp_path / str(length), partitions=partitions)
        corpus.ran.clear()
        clock = VirtualClock(asyncio.get_running_loop(), prefix[-1].at_ms + SECOND)
        async with running(SERVICES, data, seed=length + 2, clock=clock) as engine:
            assert await result_of(engine, root_id) == expected, f"after {length} records"
            await _rest(engine)
            assert journals(engine) == asked, f"after {length} records"
        recorded = results_in(prefix)
        assert not recorded & set(corpus.ran), f"after {length} records: a step with a result ran again"
        assert recorded | set(corpus.ran) == set(ran), f"after {length} records: a step never ran"
        assert set(corpus.ran.values()) <= {1}, f"after {length} records: a step ran twice"


async def _rest(engine: Engine) -> None:
    """Until what was only sent has ended too: every row is finished and every message has arrived."""

    def ended() -> bool:
        return all(
            (row := tables.invocation(seq)) is not None and row.status is Status.COMPLETED
            for tables in engine.store.tables
            for seq in range(1, tables.meta.next_seq)
        ) and not any(
            tables.outbox(target, 0, 1) for tables in engine.store.tables for target in range(engine.partitions)
        )

    await until(ended)
