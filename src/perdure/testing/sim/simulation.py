"""One seed: processes of the real engine, one after the other, on one simulated disk, and what must hold of them.

Everything that is drawn is drawn from the seed: the scenario, the programs, when a process ends and how, what the disk
does. A seed gives the same trace on every machine with the same Python.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import apsw

from perdure.invoker import admission, local, proposals
from perdure.model import limits
from perdure.node import cleaner, control, core, recovery, timers
from perdure.partition import events, invariants
from perdure.sdk.app import App
from perdure.sdk.errors import ServiceProtocolNeeded
from perdure.store import schema, snapshot, store, tables
from perdure.testing.sim.clients import Client, Operator, Outside
from perdure.testing.sim.damage import Damage
from perdure.testing.sim.disk import Disk, Inode, Mount
from perdure.testing.sim.engine import DATA
from perdure.testing.sim.errands import make_errands
from perdure.testing.sim.errands.sizes import BODY_BYTES_MAX, JOURNAL_ENTRIES_MAX
from perdure.testing.sim.files import SimVFS, scratch_directory
from perdure.testing.sim.handlers import make_app
from perdure.testing.sim.process import Process
from perdure.testing.sim.programs import Author
from perdure.testing.sim.records import Records
from perdure.testing.sim.scenario import Life, Scenario
from perdure.testing.sim.virtual_time import SimExecutor, SimLoop
from perdure.testing.sim.world import Trace, Violation, World
from perdure.testing.sim.wrong_start import WrongStart

if TYPE_CHECKING:
    from perdure.testing.sim.remote.fleet import Fleet

FINAL_LIVES_MAX = 10
_WRONG_STARTS = 0.15
"""Chance of a process of being preceded by a start that must be refused."""
SMALL: tuple[tuple[ModuleType, str, int], ...] = (
    (proposals, "MERGED_BYTES_MAX", 2_000),
    (core, "TIMERS_IN_MEMORY_MAX", 4),
    (timers, "_LOAD", 3),
    (timers, "_FIRE", 2),
    (cleaner, "SLICE", 3),
    (recovery, "_SLICE_RECORDS", 7),
    (events, "EVENTS_MAX", 6),
    (invariants, "EVENTS_MAX", 6),
    (tables, "_PAGE", 5),
    (store, "CLEAN_LAYER_BYTES_MAX", 3_000),
    (snapshot, "CHUNK_ROWS", 3),
    (local, "BODY_BYTES_MAX", BODY_BYTES_MAX),
    (admission, "BODY_BYTES_MAX", BODY_BYTES_MAX),
    (control, "BODY_BYTES_MAX", BODY_BYTES_MAX),
    (local, "JOURNAL_ENTRIES_MAX", JOURNAL_ENTRIES_MAX),
    (limits, "TURN_CALLBACKS_BUDGET", 100),
    (limits, "TURN_CALLBACKS_MAX", 2_000),
)
"""Bounds that a short run would never reach."""


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
        self.world.disk_fails = lambda: self.disk.errors > 0 or self.damaged
        self.disk = Disk(Random(self.random.random()), self.trace.note)
        self._apps: dict[int, App] = {}
        author = Author(
            Random(self.random.random()), cells=2, fragile=scenario.incompatible_upgrade, elsewhere=scenario.remote
        )
        self.clients: list[Client] = []
        for number in range(scenario.clients):
            random = Random(self.random.random())
            self.clients.append(Client(number, self.world, random, author, self.clients, forgets=scenario.forgets))
        self.outside = Outside(self.world, Random(self.random.random()))
        self.operator = Operator(
            Random(self.random.random()), self.clients, scenario.operator_s, gentle=scenario.gentle
        )
        self.errands = make_errands(scenario.errands, self.world, self.random, forgets=scenario.forgets)
        self.fleet = self._make_fleet() if scenario.remote else None
        self._damage = Damage(self.disk, Random(self.random.random()), self.connected)
        self.damaged = False
        """Something was damaged and nobody has refused it so far."""
        self.stopped_in_order = False
        """The last process stopped in order, and nothing happened to the disk since."""
        self._settled = False
        """Everything on the disk is durable."""
        self._copy: dict[str, Inode] = {}
        self._copied_lsn = 0
        self.over = False
        """Damage was refused by a process that had begun: there is nothing to go on with."""
        idle = SimLoop(Random(0), 0.0)
        self.records = Records(
            self.world,
            Random(self.random.random()),
            scenario.partitions,
            SimExecutor(idle, Random(0)),
            incompatible=scenario.incompatible_upgrade,
            watched=scenario.watched,
        )
        idle.close()
        self.world.snapshot_at = self.records.snapshot_at
        self._chance = Random(self.random.random())
        self._wrong_starts = 0

    def _make_fleet(self) -> Fleet:
        try:
            from perdure.testing.sim.remote.fleet import Fleet
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "restate":
                raise
            raise ServiceProtocolNeeded(
                "The workers of the theme `remote` stand on the core of Restate's SDK, which is not installed.",
                "Run `pip install 'perdure[restate]'`, or choose another theme.",
            ) from error
        return Fleet(self.world, Random(self.random.random()), self._app_elsewhere)

    def run(self) -> Violation | None:
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with ExitStack() as small:
                small.enter_context(patch.object(schema, "WAL_PAGES", self.scenario.wal_pages))
                for module, name, value in SMALL:
                    small.enter_context(patch.object(module, name, value))
                if self.fleet is not None:
                    self.fleet.patches(small)
                for life in self.scenario.lives:
                    self._live(life)
                    if self.world.violations or self.over:
                        return next(iter(self.world.violations), None)
                return self._to_the_end()
        finally:
            if self.fleet is not None:
                self.fleet.close()
            logging.disable(before)
            self.records.close()

    def app(self, version: int) -> App:
        """The code that a process runs; the same object for all that run this version. Workers have it, if there are any."""
        if self.fleet is not None:
            return App(dev=False)
        app = self._apps.get(version)
        if app is None:
            app = self._apps[version] = make_app(
                self.world, version, [errand.service for errand in self.errands], forgets=self.scenario.forgets
            )
        return app

    def _app_elsewhere(self, version: int, worker_ms: Callable[[], int], settings: dict[str, Any]) -> App:
        return make_app(self.world, version, forgets=self.scenario.forgets, worker_ms=worker_ms, **settings)

    def _start_wrongly(self, *, settled: bool) -> None:
        self._wrong_starts += 1
        wrong = WrongStart(self, 10_000 + self._wrong_starts, self._chance, settled=settled)
        if wrong.possible:
            wrong.live()

    def _live(self, life: Life) -> Process:
        if self.lives and not self.damaged and self._chance.random() < _WRONG_STARTS:
            self._start_wrongly(settled=self._settled)
        self.lives += 1
        if life.flips and not self.damaged:
            self._copy, self._copied_lsn = self.disk.copy(), self.records.last_lsn
            self.damaged = self._damage.begin(
                of_store=self.scenario.flips_store,
                stopped=self.stopped_in_order and not self.disk.errors,
                torn_ends=self.scenario.settings["durability"] == "os",
            )
        self.stopped_in_order = self.stopped_in_order and not self.damaged
        if not self.damaged:
            self._damage.remember()
        if self.fleet is not None and self.lives > 1:
            self.now_s = self.fleet.live_alone(self.now_s)
        process = Process(self, self.lives, life)
        process.live()
        self.crashes += process.crashed
        self._settled = life.power
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

    @contextmanager
    def connected(self) -> Iterator[apsw.Connection]:
        """To the store of a disk at rest."""
        self.disk.new_process()
        self.disk.wait = lambda _: None
        vfs = SimVFS(f"rest{self.lives}", Mount(self.disk), self.scratch)
        try:
            connection = apsw.Connection(str(DATA / "store.sqlite"), vfs=vfs.name)
            try:
                yield connection
            finally:
                connection.close(True)
        finally:
            vfs.unregister()

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
