"""Runs every program and replays it in this process; prints a digest of each journal. Started by test_replay.

Arguments: how many objects of random sizes to scatter over the heap, and a seed for them.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys

import driver
import msgspec
import programs

from perdure.model.driver import Turn


def main() -> None:
    amount, seed = int(sys.argv[1]), int(sys.argv[2])
    scatter = random.Random(seed)
    kept: list[object] = []
    digests = {}
    for name, (service, handler, key, body) in programs.ALL.items():
        first: list[object] | None = None
        for _ in range(3):
            kept.extend(bytearray(scatter.randrange(1, 900)) for _ in range(amount))
            scatter.shuffle(kept)
            del kept[: amount // 2]
            run = driver.ScriptedDriver(
                programs.app, service, handler, body, key=key, script=driver.Script(state={"old": b"1"})
            )
            outcome = run.run()
            assert outcome is Turn.ENDED, (name, outcome, run.error)
            if first is None:
                first = run.journal
            assert run.journal == first, name
            again = driver.ScriptedDriver(
                programs.app,
                service,
                handler,
                key=key,
                journal=run.journal[:-1],
                times=run.times[:-1],
                script=driver.Script(state={"old": b"1"}),
            )
            assert again.run() is Turn.ENDED, (name, again.error)
            assert again.step_runs == {}, name
        digests[name] = hashlib.sha256(msgspec.msgpack.encode(first)).hexdigest()
    json.dump(digests, sys.stdout)


main()
