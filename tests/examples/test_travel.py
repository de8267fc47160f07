"""Travel: the saga over HTTP and the command line, killed in the middle of giving everything back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess
from tests.processes import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
BOOKED = ["book flight", "book hotel", "book car"]


class Agency:
    """A server, its booking systems, and somebody at a terminal."""

    def __init__(self, directory: Path) -> None:
        self.ledger = directory / "ledger"
        self.ledger.mkdir()
        environment = {"TRAVEL_LEDGER": str(self.ledger)}
        self.server = ServerProcess(
            ["examples.travel.app:app"], directory / "data", directory=ROOT, environment=environment
        )
        self.start()

    def start(self) -> None:
        self.server.start()
        self.server.wait_ready()

    def plan(self, trip: str) -> str:
        return self.server.ingress().until_answered("POST", f"/Trip/{trip}/plan/send", "Ann").invocation_id

    def ended(self, trip: str) -> tuple[int, Any]:
        answer = self.server.ingress().until_answered("GET", f"/restate/workflow/Trip/{trip}/attach")
        return answer.status, answer.json()

    def done(self, trip: str) -> list[str]:
        done = self.ledger / "done"
        lines = done.read_text().splitlines() if done.exists() else []
        return [line.removesuffix(f" {trip}") for line in lines if line.endswith(f" {trip}")]

    def perdure(self, *words: str) -> str:
        url = f"http://127.0.0.1:{self.server.admin_port}"
        command = [sys.executable, "-m", "perdure", "invocations", *words, "--admin-url", url]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def status(self, invocation_id: str) -> Any:
        return json.loads(self.perdure("describe", invocation_id, "--json"))


@pytest.fixture
def agency(tmp_path: Path) -> Iterator[Agency]:
    agency = Agency(tmp_path)
    yield agency
    if agency.server.running:
        agency.server.kill()


def test_a_confirmed_trip_is_booked_and_invoiced_over_a_kill(agency: Agency) -> None:
    agency.plan("rome")
    wait_until(lambda: agency.done("rome") == BOOKED)
    agency.server.kill()
    agency.start()
    caller = agency.server.ingress()
    wait_until(lambda: caller.until_answered("GET", "/Trip/rome/booked").body == b'"car"')
    caller.until_answered("POST", "/Trip/rome/confirm")
    assert agency.ended("rome") == (200, "invoice for Ann")
    assert agency.done("rome") == BOOKED
    assert caller.try_once("POST", "/Invoices/write_invoice", "Eve").status in (400, 404), "it is private"


def test_a_cancelled_trip_is_given_back_once_over_a_kill(agency: Agency) -> None:
    trip = agency.plan("oslo")
    wait_until(lambda: agency.done("oslo") == BOOKED)
    (agency.ledger / "hotel slow").touch()
    assert "was asked to end" in agency.perdure("cancel", trip)
    wait_until((agency.ledger / "waiting").exists)  # the car is given back, the hotel hangs
    agency.server.kill()
    (agency.ledger / "hotel slow").unlink()
    agency.start()
    status, body = agency.ended("oslo")
    assert (status, body["message"]) == (409, "cancelled")
    assert agency.done("oslo") == [*BOOKED, "cancel car", "cancel hotel", "cancel flight"]
    assert agency.server.ingress().until_answered("GET", "/Trip/oslo/booked").json() == "nothing"


def test_a_trip_that_cannot_be_booked_is_given_back(agency: Agency) -> None:
    (agency.ledger / "car sold out").touch()
    agency.plan("bern")
    status, body = agency.ended("bern")
    assert (status, body["message"]) == (409, "no car left")
    assert agency.done("bern") == ["book flight", "book hotel", "cancel hotel", "cancel flight"]


def test_a_system_that_is_down_pauses_the_trip_until_somebody_resumes_it(agency: Agency) -> None:
    (agency.ledger / "flight down").touch()
    trip = agency.plan("pisa")
    wait_until(lambda: agency.status(trip)["status"] == "paused")
    agency.server.kill()
    agency.start()
    shown = agency.perdure("describe", trip)
    assert "the flight system is down" in shown and "paused" in shown
    assert agency.status(trip)["attempts"] == 3
    (agency.ledger / "flight down").unlink()
    assert agency.perdure("resume", trip) == f"{trip}  goes on\n"
    wait_until(lambda: agency.done("pisa") == BOOKED)
