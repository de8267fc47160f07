"""The crash lab: a real server on a real disk, killed at random moments while callers work, and judged from outside.

`python -m tests.crash.lab --cycles 1000` runs it alone and prints a report. The schedule of kills and the work come from one
seed, which is printed; where exactly a kill lands is the machine's doing.

What must hold in the end: every result that was acknowledged is still there and the same; no step ran again after its
result was recorded; messages to one key ran in the order in which they were accepted, once each; every invocation ended.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from perdure.testing.process import Answer, Caller, NoAnswer, ServerProcess
from perdure.testing.steps import RecordedResults, StepTrace, judge

ROOT = Path(__file__).parents[2]
CALLERS = 10
ACCOUNTS = [f"account-{number}" for number in range(4)]
PATIENCE_S = 120.0
UPTIME_MAX_S = 0.7
"""The longest that the server lives after it is ready."""
IN_RECOVERY = 0.25
"""Share of the kills that come before the server is ready."""


@dataclass
class Report:
    seed: int
    cycles: int = 0
    killed_in_recovery: int = 0
    seconds: float = 0.0
    acknowledged: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    steps_repeated: int = 0
    recovery_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.by_kind.items()))
        return [
            f"seed {self.seed}: {self.cycles} kills in {self.seconds:.0f} s, {self.killed_in_recovery} of them in recovery",
            f"acknowledged: {self.acknowledged} ({kinds})",
            f"steps: {self.steps}, of which {self.steps_repeated} again because their result was not recorded yet",
            f"time to recover: median {statistics.median(self.recovery_s):.2f} s, longest {max(self.recovery_s):.2f} s",
            f"faults: {len(self.faults)}",
            *(f"  {fault}" for fault in self.faults[:20]),
        ]


@dataclass
class Invocation:
    """One that the server has acknowledged. `answer` None: accepted only."""

    kind: str
    id: str
    answer: Answer | None


class Worker:
    """One caller that does one thing after another, and gives none up."""

    def __init__(self, number: int, caller: Caller, rng: random.Random) -> None:
        self.key = f"worker-{number}"
        self.acknowledged: list[Invocation] = []
        self.appended = 0
        self.added: Counter[str] = Counter()
        """Amount that this worker's calls have put on each account."""
        self._caller = caller
        self._rng = rng
        self._requests = itertools.count()

    def work(self, stop: threading.Event) -> None:
        kinds = [self.call_steps, self.call_naps, self.call_add, self.place_order, self.send_append, self.send_later]
        while not stop.is_set():
            self._rng.choice([*kinds, self.ask_for_approval, self.repeat_a_call])()

    def call_steps(self) -> None:
        count = self._rng.randint(1, 8)
        answer = self._call("steps", "/Steps/in_sequence", count)
        expected = [f"{answer.invocation_id}.{position}" for position in range(count)]
        assert answer.json() == expected, f"{answer} is not {expected}"

    def call_naps(self) -> None:
        naps_ms = [self._rng.randint(0, 60) for _ in range(self._rng.randint(1, 4))]
        assert self._call("timers", "/Steps/with_naps", naps_ms).json() == len(naps_ms)

    def call_add(self) -> None:
        account = self._rng.choice(ACCOUNTS)
        self._call("objects", f"/Ledger/{account}/add", 1)
        self.added[account] += 1

    def place_order(self) -> None:
        accounts = self._rng.sample(ACCOUNTS, 3)
        assert self._call("calls of calls", "/Orders/place", accounts).json() == len(accounts) + 1
        self.added.update(accounts)

    def send_append(self) -> None:
        """In order: the next number is sent when the last one is acknowledged."""
        self._send("sends", f"/Ledger/{self.key}/append", self.appended)
        self.appended += 1

    def send_later(self) -> None:
        self._send("delayed sends", "/Steps/in_sequence", 2, f"?delay={self._rng.randint(1, 1500)}ms")

    def ask_for_approval(self) -> None:
        """The answer comes from the approver, which reads the trace."""
        self._send("awakeables", "/Steps/approved", "really")

    def repeat_a_call(self) -> None:
        """The same idempotency key again gives the same invocation and the same answer."""
        key = f"{self.key}-again-{next(self._requests)}"
        first = self._request("POST", "/Steps/in_sequence", 1, key)
        second = self._request("POST", "/Steps/in_sequence", 1, key)
        assert (first.invocation_id, first.body) == (second.invocation_id, second.body), f"{first} is not {second}"
        self.acknowledged.append(Invocation("idempotency keys", first.invocation_id, first))

    def _call(self, kind: str, path: str, argument: object) -> Answer:
        answer = self._request("POST", path, argument, f"{self.key}-{next(self._requests)}")
        assert answer.status == 200, f"{path}: {answer}"
        self.acknowledged.append(Invocation(kind, answer.invocation_id, answer))
        return answer

    def _send(self, kind: str, path: str, argument: object, query: str = "") -> None:
        answer = self._request("POST", f"{path}/send{query}", argument, f"{self.key}-{next(self._requests)}")
        assert answer.status == 202, f"{path}: {answer}"
        invocation_id = cast("dict[str, str]", answer.json())["invocationId"]
        self.acknowledged.append(Invocation(kind, invocation_id, None))

    def _request(self, method: str, path: str, argument: object, key: str) -> Answer:
        return self._caller.until_answered(method, path, argument, {"idempotency-key": key})


class Lab:
    def __init__(
        self,
        directory: Path,
        seed: int,
        cycles: int,
        settings: Mapping[str, object] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.report = Report(seed)
        self._cycles = cycles
        self._rng = random.Random(seed)
        self._data = directory / "data"
        self._trace = StepTrace(directory / "trace.txt")
        self._server = ServerProcess(
            ["tests.crash.workload:app"],
            self._data,
            directory=ROOT,
            environment={"CRASH_TRACE": str(self._trace.path)},
            settings={"retry_initial_interval": "50ms", "partitions": 2, **(settings or {})},
        )
        self._recorded = RecordedResults(self._data / "log")
        caller = self._server.ingress(timeout_s=patience_s)
        self._caller = caller
        self._workers = [Worker(number, caller, random.Random(f"{seed}-{number}")) for number in range(CALLERS)]
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
        """Let it run for a while, kill it, start it again; some are killed before they are ready."""
        in_recovery = self._rng.random() < IN_RECOVERY
        uptime_s = self._rng.uniform(0.0, UPTIME_MAX_S)
        if in_recovery:
            self.report.killed_in_recovery += 1
        else:
            self.report.recovery_s.append(self._server.wait_ready())
        time.sleep(uptime_s)
        self._server.check_alive()
        self._server.kill()
        self.report.cycles += 1
        self.while_down(self._data / "log")
        self._server.start()

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
    report = Lab(directory, arguments.seed, arguments.cycles).run()
    print("\n".join(report.lines()))
    if report.faults:
        print(f"kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
