"""The crash lab: a real server on a real disk, killed again and again while callers work, and judged from outside.

`python -m tests.crash.lab --cycles 1000` runs it alone and prints a report. It kills at random, in recovery, in a checkpoint
and while the process is stopped; then some more on a disk that is filled (as root, on a small file system of its own). The
schedule of kills and the work come from one seed, which is printed; where exactly a kill lands is the machine's doing.

What must hold in the end: every result that was acknowledged is still there and the same; no step ran again after its
result was recorded; messages to one key ran in the order in which they were accepted, once each; every invocation ended;
what callers saw of registers is linearizable.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perdure.testing.process import NoAnswer, ServerProcess
from perdure.testing.steps import RecordedResults, StepTrace, judge
from tests.crash.faults import Faults, NoSmallDisk, SmallDisk, small_disk
from tests.crash.workers import ACCOUNTS, Invocation, SharedHistory, Worker

ROOT = Path(__file__).parents[2]
CALLERS = 10
PATIENCE_S = 120.0
SMALL_DISK_MB = 48
SMALL_DISK_SETTINGS = {"segment_bytes": "4MiB", "layer_bytes_max": "4MiB"}


@dataclass
class Report:
    seed: int
    cycles: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    """How often, by what had been done to the server."""
    seconds: float = 0.0
    acknowledged: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    steps_repeated: int = 0
    register_calls: int = 0
    registers: int = 0
    recovery_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.by_kind.items()))
        killed = ", ".join(f"{count} {how}" for how, count in sorted(self.killed.items()))
        return [
            f"seed {self.seed}: {self.cycles} kills in {self.seconds:.0f} s ({killed})",
            f"acknowledged: {self.acknowledged} ({kinds})",
            f"steps: {self.steps}, of which {self.steps_repeated} again because their result was not recorded yet",
            f"linearizable: {self.register_calls} calls of {self.registers} registers",
            f"time to recover: median {statistics.median(self.recovery_s):.2f} s, longest {max(self.recovery_s):.2f} s",
            f"faults: {len(self.faults)}",
            *(f"  {fault}" for fault in self.faults[:20]),
        ]


class Lab:
    def __init__(
        self,
        directory: Path,
        seed: int,
        cycles: int,
        settings: Mapping[str, object] | None = None,
        patience_s: float = PATIENCE_S,
        disk: SmallDisk | None = None,
    ) -> None:
        """`disk`: where the data lies, to be filled now and then; None: in `directory`, on a disk with room."""
        directory.mkdir(parents=True, exist_ok=True)
        self.report = Report(seed)
        self._cycles = cycles
        self._rng = random.Random(seed)
        self._disk = disk
        self._data = (directory if disk is None else disk.path) / "data"
        self._trace = StepTrace(directory / "trace.txt")
        self._server = ServerProcess(
            ["tests.crash.workload:app"],
            self._data,
            directory=ROOT,
            environment={"CRASH_TRACE": str(self._trace.path)},
            settings={"retry_initial_interval": "50ms", "partitions": 2, **(settings or {})},
        )
        self._server.output = directory / "server.output"
        self._recorded = RecordedResults(self._data / "log")
        caller = self._server.ingress(timeout_s=patience_s)
        self._caller = caller
        self._history = SharedHistory()
        self._workers = [
            Worker(number, caller, random.Random(f"{seed}-{number}"), self._history) for number in range(CALLERS)
        ]
        self._faults = Faults(self._server, self._data, self._rng)
        self._approved: set[str] = set()
        self._stop = threading.Event()

    def run(self) -> Report:
        began = time.monotonic()
        try:
            self._server.start()
            self._server.wait_ready()
            self._work_and_kill()
            self._judge()
        finally:
            self._stop.set()
            if self._server.running:
                self._server.kill()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _work_and_kill(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(CALLERS + 1) as pool:
            working = [pool.submit(worker.work, self._stop) for worker in self._workers]
            approving = pool.submit(self._approve)
            try:
                for _ in range(self._cycles):
                    self._one_cycle()
            except BaseException:
                self._caller.give_up.set()
                raise
            finally:
                self._stop.set()
            for done in [*working, approving]:
                done.result()

    def _one_cycle(self) -> None:
        """Let it run for a while, do something to it that ends in its death, and start it again."""
        how = self._rng.choice(self.ways())()
        self.report.killed[how] += 1
        self.report.cycles += 1
        self.while_down(self._data / "log")
        self._server.start()
        if self._rng.random() < 0.5 or self.report.cycles == self._cycles:
            self.report.recovery_s.append(self._server.wait_ready())

    def ways(self) -> list[Callable[[], str]]:
        """What may be done to it."""
        faults, disk = self._faults, self._disk
        if disk is not None:
            return [lambda: faults.fill_disk(disk)]
        return [
            faults.kill,
            faults.kill_before_ready,
            faults.kill_in_recovery,
            faults.kill_in_checkpoint,
            faults.stop_and_go_on,
        ]

    def while_down(self, log: Path) -> None:
        """Called after each kill, with the log as the dead process left it."""
        self._recorded.read_on()

    def _approve(self) -> None:
        """Resolve every awakeable that a step has published, twice: only the first word counts."""
        while not self._stop.wait(0.05):
            self._approve_published()

    def _approve_published(self) -> None:
        for line in self._trace.lines():
            match line.words:
                case ("awakeable", awakeable_id) if awakeable_id not in self._approved:
                    for word in ("yes", "no"):
                        path = f"/restate/awakeables/{awakeable_id}/resolve"
                        answer = self._caller.until_answered("POST", path, word)
                        assert answer.status == 202, f"{path}: {answer}"
                    self._approved.add(awakeable_id)

    def _judge(self) -> None:
        self._server.wait_ready()
        self._approve_published()
        everything = [invocation for worker in self._workers for invocation in worker.acknowledged]
        self.report.acknowledged = len(everything)
        self.report.by_kind = Counter(invocation.kind for invocation in everything)
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            self.report.faults += filter(None, pool.map(self._ended_as_told, everything))
        for worker in self._workers:
            self._check_order(worker)
        self._check_totals()
        self.report.register_calls, self.report.registers = self._history.calls, self._history.registers
        self.report.faults += [f"the history of {key} is not linearizable" for key in self._history.not_linearizable()]
        code = self._server.stop()
        if code != 0:
            self.report.faults.append(f"the server ended with {code} when asked to stop:\n{self._server.output_tail()}")
        self._recorded.read_on()
        lines = self._trace.lines()
        verdict = judge(lines, self._recorded.at_ms)
        self.report.steps, self.report.steps_repeated = len(lines), verdict.repeated
        self.report.faults += verdict.wrong

    def _ended_as_told(self, invocation: Invocation) -> str | None:
        """Wait for its end; a fault when there is none, when it is not the answer that was given, or no success."""
        try:
            now = self._caller.until_answered("GET", f"/restate/invocation/{invocation.id}/attach")
        except NoAnswer:
            return f"{invocation.kind} {invocation.id} did not end"
        was = invocation.answer
        if was is None:
            if now.status != 200:
                return f"{invocation.kind} {invocation.id} was accepted and ended with {now.status} {now.body!r}"
            if invocation.kind == "awakeables" and now.json() != "really: yes":
                return f"{invocation.id} was told yes first, and says {now.body!r}"
        elif (now.status, now.body) != (was.status, was.body):
            return f"{invocation.kind} {invocation.id} was answered {was.body!r}, and is {now.status} {now.body!r} now"
        return None

    def _check_order(self, worker: Worker) -> None:
        expected = list(range(worker.appended))
        kept = self._caller.until_answered("POST", f"/Ledger/{worker.key}/numbers").json()
        if kept != expected:
            self.report.faults.append(f"the state of {worker.key} has {kept}, not {len(expected)} numbers in order")
        ran = [int(line.words[2]) for line in self._trace.lines() if line.words[:2] == ("append", worker.key)]
        if list(dict.fromkeys(ran)) != expected:
            self.report.faults.append(f"messages to {worker.key} ran as {ran}")

    def _check_totals(self) -> None:
        for account in ACCOUNTS:
            expected = sum(worker.added[account] for worker in self._workers)
            total = self._caller.until_answered("POST", f"/Ledger/{account}/total").json()
            if total != expected:
                self.report.faults.append(f"{account} has {total}, and {expected} was put on it")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a server again and again, and judge it from outside.")
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="perdure-crash-"))
    print(f"seed {arguments.seed}, {arguments.cycles} kills, in {directory}", flush=True)
    reports = [Lab(directory, arguments.seed, arguments.cycles).run()]
    print("\n".join(reports[0].lines()), flush=True)
    try:
        with small_disk(directory / "small", SMALL_DISK_MB) as disk:
            full = Lab(
                directory / "full", arguments.seed, max(3, arguments.cycles // 25), SMALL_DISK_SETTINGS, disk=disk
            )
            reports.append(full.run())
        print("\n".join(reports[1].lines()))
    except NoSmallDisk as why:
        print(f"a full disk: skipped, because this machine gives no small one ({why})")
    if any(report.faults for report in reports):
        print(f"kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
