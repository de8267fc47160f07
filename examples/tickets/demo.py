"""`make demo`: the ticket shop as a real server, killed with SIGKILL again and again while customers are shopping.

Ends with a table of what happened, and with exit code 1 if any figure is not what was promised.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.tickets.customers import PATIENCE_S, Customer, Mailbox
from perdure.testing.process import Caller, ServerProcess
from perdure.testing.steps import RecordedResults, StepTrace, judge

ROOT = Path(__file__).parents[2]
CARTS = 400
KILLS = 6
SHOPPING_AT_ONCE = 32
RESERVATION_S = 20
"""Longer than a customer ever needs from seat to checkout, kills included."""
CONFIRMATION_S = 60
MESSAGES_ARRIVE_WITHIN_S = 5
ON_DISK = ROOT / ".demo"


@dataclass
class Demo:
    console: Console
    server: ServerProcess
    customers: list[Customer]
    world: StepTrace
    results: RecordedResults
    recovery_s: list[float] = field(default_factory=list)

    def run(self) -> bool:
        self.server.start()
        first_start_s = self.server.wait_ready()
        self.console.print(f"The shop is open (after {first_start_s * 1000:.0f} ms); {CARTS} customers are coming.\n")
        with Mailbox(self.world, self.caller(), self.customers):
            self._shop_under_fire()
            walked_away = [customer for customer in self.customers if customer.walks_away]
            self._wait_for_expiry(walked_away)
        misplaced = self._misplaced_seats()
        with concurrent.futures.ThreadPoolExecutor(SHOPPING_AT_ONCE) as pool:
            lost = [text for found in pool.map(Customer.lost, self.customers) for text in found]
        exit_code = self.server.stop()
        self.results.read_on()
        return self._report(misplaced, lost, exit_code)

    def caller(self) -> Caller:
        return self.server.ingress(timeout_s=PATIENCE_S)

    def _shop_under_fire(self) -> None:
        """Let all customers shop; kill the server each time another share of them is done."""
        kill_at = [CARTS * (kill + 1) // (KILLS + 1) for kill in range(KILLS)]
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
        )
        with bar, concurrent.futures.ThreadPoolExecutor(SHOPPING_AT_ONCE) as pool:
            task = bar.add_task("shopping", total=CARTS)
            shopping = [pool.submit(customer.shop) for customer in self.customers]
            for done, finished in enumerate(concurrent.futures.as_completed(shopping), 1):
                finished.result()
                bar.advance(task)
                if done in kill_at:
                    self._kill_and_restart(in_recovery=kill_at.index(done) % 3 == 1)
                    bar.update(task, description=f"killed {len(self.recovery_s)} times")

    def _kill_and_restart(self, *, in_recovery: bool) -> None:
        self.server.kill()
        self.results.read_on()
        if in_recovery:
            self.server.start()
            time.sleep(0.25)  # somewhere between the first import and the first answer
            self.server.kill()
        self.server.start()
        self.recovery_s.append(self.server.wait_ready())

    def _wait_for_expiry(self, walked_away: list[Customer]) -> None:
        caller = self.caller()
        with self.console.status("waiting for the carts left behind to expire"):
            deadline = time.monotonic() + RESERVATION_S + 10
            for customer in walked_away:
                path = f"/Cart/{customer.name}/content"
                while time.monotonic() < deadline and caller.until_answered("POST", path).json() != []:
                    time.sleep(0.1)

    def _misplaced_seats(self) -> list[str]:
        """Seats that are not where they should be: sold to whoever paid, else free; never with two customers."""
        expected: dict[str, str] = {}
        misplaced = []
        for customer in self.customers:
            sold = customer.outcome == 200
            for seat in customer.had:
                if sold and expected.get(seat) == "sold":
                    misplaced.append(f"{seat} was sold twice")
                expected[seat] = "sold" if sold or expected.get(seat) == "sold" else "available"
        caller = self.caller()
        for seat, status in expected.items():
            # A seat hears of a sale or an expiry by message: a moment after the cart does.
            deadline = time.monotonic() + MESSAGES_ARRIVE_WITHIN_S
            while (is_now := caller.until_answered("POST", f"/Ticket/{seat}/status").json()) != status:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
            if is_now != status:
                misplaced.append(f"{seat} should be {status}, and is {is_now}")
        return misplaced

    def _report(self, misplaced: list[str], lost: list[str], exit_code: int) -> bool:
        lines = self.world.lines()
        steps = judge(lines, self.results.at_ms)
        surprised = [
            f"{customer.name}: expected {customer.expected_outcome}, got {customer.outcome}"
            for customer in self.customers
            if customer.outcome != customer.expected_outcome
        ]
        outcomes = [customer.outcome for customer in self.customers]
        acknowledged = sum(len(customer.acknowledged) for customer in self.customers)
        table = Table(title="\nThe ticket shop under SIGKILL", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("carts", str(CARTS))
        table.add_row(
            "  paid / refused / declined / walked away", " / ".join(str(outcomes.count(c)) for c in (200, 402, 409, 0))
        )
        table.add_row("  with another end than expected", _zero(surprised))
        table.add_row("  seats not where they should be", _zero(misplaced))
        table.add_row("times the server was killed", str(self.server.starts - 1))
        table.add_row("steps executed", str(len(lines)))
        table.add_row("  again, the result not being recorded yet", str(steps.repeated))
        table.add_row("  again after their result was recorded", _zero(steps.wrong))
        table.add_row("calls acknowledged", str(acknowledged))
        table.add_row("  lost", _zero(lost))
        table.add_row(
            "time to recover, median and longest",
            f"{statistics.median(self.recovery_s):.2f} s, {max(self.recovery_s):.2f} s",
        )
        self.console.print(table)
        faults = [*surprised, *misplaced, *steps.wrong, *lost]
        faults += [f"the server ended with code {exit_code} when asked to stop"] if exit_code else []
        for fault in itertools.islice(faults, 20):
            self.console.print(f"[red]{fault}[/red]")
        return not faults


def _zero(faults: list[str]) -> str:
    return "[green]0[/green]" if not faults else f"[bold red]{len(faults)}[/bold red]"


def main() -> int:
    shutil.rmtree(ON_DISK, ignore_errors=True)
    ON_DISK.mkdir()
    world = StepTrace(ON_DISK / "outside-world.txt")
    data = ON_DISK / "data"
    server = ServerProcess(
        ["examples.tickets.app:app"],
        data,
        directory=ROOT,
        environment={
            "TICKETS_RESERVATION_S": str(RESERVATION_S),
            "TICKETS_CONFIRMATION_S": str(CONFIRMATION_S),
            "TICKETS_OUTSIDE_WORLD": str(world.path),
        },
    )
    caller = server.ingress(timeout_s=PATIENCE_S)
    customers = [Customer(number, caller) for number in range(CARTS)]
    # First those who leave their cart behind: it expires while the others shop.
    customers.sort(key=lambda customer: not customer.walks_away)
    demo = Demo(Console(), server, customers, world, RecordedResults(data / "log"))
    try:
        return 0 if demo.run() else 1
    finally:
        if server.running:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
