"""One seed: processes of the real engine, one after the other, on one simulated disk, and what must hold of them.

Everything that is drawn is drawn from the seed: the scenario, the programs, when a process ends and how, what the disk
does. A seed gives the same trace on every machine with the same Python.
"""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random
from typing import NamedTuple

from perdure.testing.sim.clients import Client, Operator, Outside
from perdure.testing.sim.disk import Disk
from perdure.testing.sim.files import scratch_directory
from perdure.testing.sim.process import Process
from perdure.testing.sim.programs import Author
from perdure.testing.sim.records import Records
from perdure.testing.sim.scenario import Life, Scenario
from perdure.testing.sim.virtual_time import SimExecutor, SimLoop
from perdure.testing.sim.world import Trace, Violation, World

FINAL_LIVES_MAX = 6


class Report(NamedTuple):
    """What came of a seed. `violation` None: everything held."""

    seed: int
    digest: str
    violation: Violation | None
    records: int
    crashes: int
    repeated: int
    """Steps that ran again, as they may."""
    simulated_s: float
    lines: list[str]


def simulate(seed: int, *, trace: bool = False) -> Report:
    """Run one seed. Nothing is raised for what does not hold: the report names it."""
    with scratch_directory() as scratch:
        simulation = Simulation(seed, Path(scratch), keep_trace=trace)
        violation = simulation.run()
    return Report(
        seed,
        simulation.trace.digest(),
        violation,
        simulation.records.last_lsn,
        simulation.crashes,
        simulation.world.repeated,
        simulation.now_s,
        simulation.trace.lines,
    )


class Simulation:
    """What outlives the processes."""

    def __init__(self, seed: int, scratch: Path, *, keep_trace: bool) -> None:
        self.random = Random(seed)
        self.scenario = scenario = Scenario.draw(self.random)
        self.scratch = scratch
        self.now_s = 1_000.0
        self.crashes = 0
        self.lives = 0
        self.trace = Trace(keep_trace)
        self.trace.now_s = lambda: self.now_s
        self.trace.note(f"seed {seed} {scenario}")
        self.world = World(self.trace)
        self.disk = Disk(Random(self.random.random()), self.trace.note)
        author = Author(Random(self.random.random()), cells=2, fragile=scenario.incompatible_upgrade)
        self.clients = [
            Client(number, self.world, Random(self.random.random()), author, forgets=scenario.forgets)
            for number in range(scenario.clients)
        ]
        self.outside = Outside(self.world, Random(self.random.random()))
        self.operator = Operator(Random(self.random.random()), self.clients, gentle=scenario.gentle)
        idle = SimLoop(Random(0), 0.0)
        self.records = Records(self.world, scenario.partitions, SimExecutor(idle, Random(0)))
        idle.close()

    def run(self) -> Violation | None:
        logging.disable(logging.CRITICAL)
        try:
            for life in self.scenario.lives:
                self._live(life)
                if self.world.violations:
                    return self.world.violations[0]
            return self._to_the_end()
        finally:
            logging.disable(logging.NOTSET)
            self.records.close()

    def _live(self, life: Life) -> Process:
        self.lives += 1
        process = Process(self, self.lives, life)
        process.live()
        self.crashes += process.crashed
        return process

    def _to_the_end(self) -> Violation | None:
        """Lives without faults, until everything has come to its end."""
        for _ in range(FINAL_LIVES_MAX):
            for version in self.scenario.final_versions:
                process = self._live(Life(version=version, final=True))
                if self.world.violations:
                    return self.world.violations[0]
                if process.everything_ended:
                    return self._judge()
        return Violation("ends", "some invocations never came to their end")

    def _judge(self) -> Violation | None:
        for key in self.world.history.not_linearizable():
            return Violation("linearizable", f"the history of {key}: {self.world.history.calls[key]}")
        return None
