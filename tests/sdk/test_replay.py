"""What a handler issues depends on what it was told, and on nothing else: replay at every point, under other hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.model.driver import Turn
from perdure.model.journal import Entry

from .driver import Script, ScriptedDriver, commands, is_notification
from .programs import ALL, app

OLD_STATE = {"old": b"1"}


def program(name: str, **kwargs: object) -> ScriptedDriver:
    service, handler, key, body = ALL[name]
    script = Script(state=dict(OLD_STATE))
    script.tail = kwargs.pop("tail", None)  # type: ignore[assignment]
    return ScriptedDriver(app, service, handler, body, key=key, script=script, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL)
def test_every_prefix_of_a_journal_replays_to_the_same_commands(name: str) -> None:
    whole = program(name)
    assert whole.run() is Turn.ENDED, whole.error
    assert len(whole.journal) > 10
    entries: list[tuple[Entry, int]] = list(zip(whole.journal, whole.times, strict=True))
    for cut in range(1, len(entries)):
        rest = [(entry, at) for entry, at in entries[cut:] if is_notification(entry)]
        replay = program(name, journal=whole.journal[:cut], times=whole.times[:cut], tail=rest)
        assert replay.run() is Turn.ENDED, (cut, replay.error)
        assert commands(replay.journal) == commands(whole.journal), cut
        assert replay.step_runs == {}, cut


@pytest.mark.parametrize("name", ALL)
def test_a_crash_after_every_entry_runs_each_step_once(name: str) -> None:
    whole = program(name)
    assert whole.run() is Turn.ENDED
    crashing = program(name)
    crashing.crash_at = 2
    while crashing.run() is not Turn.ENDED or crashing._crashing():
        assert crashing.error is None
        crashing.crash_at += 1
        assert crashing.crash_at < 1000
    assert crashing.attempts > 10
    assert set(crashing.step_runs.values()) <= {1}
    assert len(crashing.step_runs) == len(whole.step_runs)
    assert crashing.output == whole.output


@pytest.mark.slow
def test_journals_are_the_same_under_other_hash_seeds_and_heaps() -> None:
    worker = Path(__file__).with_name("replay_worker.py")
    processes = [
        subprocess.Popen(
            [sys.executable, str(worker), str(amount), hash_seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for amount, hash_seed in ((0, "0"), (500, "1"), (5000, "4242"), (1234, "99"))
    ]
    digests = [json.loads(process.communicate()[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert set(digests[0]) == set(ALL)
    assert all(digest == digests[0] for digest in digests)
