"""One seed: processes of the real engine, one after the other, on one simulated disk, and what must hold of them.

Everything that is drawn is drawn from the seed: the scenario, the programs, when a process ends and how, what the disk
does. A seed gives the same trace on every machine with the same Python.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import ModuleType
from typing import NamedTuple
from unittest.mock import patch

from perdure.invoker import proposals
from perdure.log.format import FRAME_HEADER_BYTES
from perdure.node import cleaner, core, recovery, timers
from perdure.partition import events, invariants
from perdure.sdk.app import App
from perdure.store import schema
from perdure.testing.sim.clients import Client, Operator, Outside
from perdure.testing.sim.disk import Disk
from perdure.testing.sim.errands import make_errands
from perdure.testing.sim.files import scratch_directory
from perdure.testing.sim.handlers import make_app
from perdure.testing.sim.process import Process
from perdure.testing.sim.programs import Author
from perdure.testing.sim.records import Records
from perdure.testing.sim.scenario import Life, Scenario
from perdure.testing.sim.virtual_time import SimExecutor, SimLoop
from perdure.testing.sim.world import Trace, Violation, World

FINAL_LIVES_MAX = 10
SMALL: tuple[tuple[ModuleType, str, int], ...] = (
    (proposals, "MERGED_BYTES_MAX", 2_000),
    (core, "TIMERS_IN_MEMORY_MAX", 4),
    (timers, "_LOAD", 3),
    (timers, "_FIRE", 2),
    (cleaner, "SLICE", 3),
    (recovery, "_SLICE_RECORDS", 7),
    (events, "EVENTS_MAX", 6),
    (invariants, "EVENTS_MAX", 6),
)
"""Bounds that a short run would never reach."""
PAGE_BYTES = 4096
"""Of SQLite."""
PAGE_CELLS_AT = 4
"""Where a page says how many rows it has: the byte that counts up to 255."""


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


def simulate(seed: int, *, theme: str | None = None, trace: bool = False) -> Report:
    """Run one seed, with the theme that it draws or this one. Nothing is raised for what does not hold: the report names it."""
    with scratch_directory() as scratch:
        simulation = Simulation(seed, Path(scratch), theme, keep_trace=trace)
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

    def __init__(self, seed: int, scratch: Path, theme: str | None, *, keep_trace: bool) -> None:
        self.random = Random(seed)
        self.scenario = scenario = Scenario.draw(self.random, theme)
        self.scratch = scratch
        self.now_s = 1_000.0
        self.crashes = 0
        self.lives = 0
        self.trace = Trace(keep_trace)
        self.trace.now_s = lambda: self.now_s
        self.trace.note(f"seed {seed} {scenario}")
        self.world = World(self.trace)
        self.world.meddled = scenario.operator_s > 0
        self.disk = Disk(Random(self.random.random()), self.trace.note)
        self._apps: dict[int, App] = {}
        author = Author(Random(self.random.random()), cells=2, fragile=scenario.incompatible_upgrade)
        self.clients: list[Client] = []
        for number in range(scenario.clients):
            random = Random(self.random.random())
            self.clients.append(Client(number, self.world, random, author, self.clients, forgets=scenario.forgets))
        self.outside = Outside(self.world, Random(self.random.random()))
        self.operator = Operator(
            Random(self.random.random()), self.clients, scenario.operator_s, gentle=scenario.gentle
        )
        self.errands = make_errands(scenario.errands, self.world, self.random, forgets=scenario.forgets)
        self.damaged = False
        """A bit has flipped and nobody has refused it so far."""
        self.stopped_in_order = False
        """The last process stopped in order, and nothing happened to the disk since."""
        self._copy: dict[str, bytes] = {}
        self._copied_lsn = 0
        self.over = False
        """Damage was refused by a process that had begun: there is nothing to go on with."""
        idle = SimLoop(Random(0), 0.0)
        self.records = Records(
            self.world,
            scenario.partitions,
            SimExecutor(idle, Random(0)),
            incompatible=scenario.incompatible_upgrade,
        )
        idle.close()

    def run(self) -> Violation | None:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with ExitStack() as small:
                small.enter_context(patch.object(schema, "WAL_PAGES", self.scenario.wal_pages))
                for module, name, value in SMALL:
                    small.enter_context(patch.object(module, name, value))
                for life in self.scenario.lives:
                    self._live(life)
                    if self.world.violations or self.over:
                        return next(iter(self.world.violations), None)
                return self._to_the_end()
        finally:
            logging.disable(before)
            self.records.close()

    def app(self, version: int) -> App:
        """The code that a process runs; the same object for all that run this version."""
        app = self._apps.get(version)
        if app is None:
            app = self._apps[version] = make_app(
                self.world, version, [errand.service for errand in self.errands], forgets=self.scenario.forgets
            )
        return app

    def _live(self, life: Life) -> Process:
        self.lives += 1
        if life.flips and not self.damaged:
            self._copy, self._copied_lsn = self.disk.copy(), self.records.last_lsn
            self.damaged = self._flip()
        self.stopped_in_order = self.stopped_in_order and not self.damaged
        process = Process(self, self.lives, life)
        process.live()
        self.crashes += process.crashed
        self.stopped_in_order = process.stopped
        if self.damaged and process.refused:
            if self.records.last_lsn == self._copied_lsn:
                self.disk.restore(self._copy)  # as the refusal says
                self.damaged = False
            else:
                self.over = True
        if self.scenario.settings["durability"] == "os" and life.power and not process.stopped:
            self.world.lenient = True
            self.outside.begin_again()
        return process

    def _flip(self) -> bool:
        """One bit somewhere in what counts.

        After a crash the last batch of the log cannot be told from a torn one when it is damaged: it is left alone.
        """
        random, disk = self.random, self.disk
        of_store = self.scenario.flips_store
        paths = sorted(
            name for name, inode in disk.names.items() if inode.data and name.startswith("/data/store") is of_store
        )
        if not paths:
            return False
        path = random.choice(paths)
        inode = disk.names[path]
        begin, end = 0, len(inode.data)
        if "/segment-" in path:
            segments = [name for name in paths if "/segment-" in name]
            clean = "/data/log/clean-stop" in disk.names
            if not clean and self.scenario.settings["durability"] == "os":
                return False  # such a log is cut at the first bad batch, as documented
            whole = path != segments[-1] or clean
            end = inode.last_write + FRAME_HEADER_BYTES if whole else inode.synced_write
            begin = max(0, end - 500) if random.random() < 0.5 else 0
        elif of_store and random.random() < 0.7:  # rows are hidden, or come back
            begin = random.randrange(begin, end, PAGE_BYTES) + PAGE_CELLS_AT
            end = begin + 1
        if end <= begin:
            return False
        disk.flip(path, random.randrange(begin, min(end, len(inode.data))), random.randrange(8))
        return True

    def _to_the_end(self) -> Violation | None:
        """Lives without faults, until everything has come to its end."""
        self.world.last_processes = True
        for _ in range(FINAL_LIVES_MAX):
            for version in self.scenario.final_versions:
                process = self._live(Life(version=version, final=True))
                if self.world.violations or self.over:
                    return next(iter(self.world.violations), None)
                if process.everything_ended:
                    return self._judge()
        return Violation("ends", "some invocations never came to their end")

    def _judge(self) -> Violation | None:
        if self.world.lenient:
            return None
        for key in self.world.history.not_linearizable():
            return Violation("linearizable", f"the history of {key}: {self.world.history.calls[key]}")
        return None
