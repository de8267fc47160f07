"""Operating a real server from the command line: lists, descriptions, control, state; and what is said when it cannot be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess

pytestmark = pytest.mark.slow

APP = """
from datetime import timedelta
from pathlib import Path
import perdure

POLICY = perdure.InvocationRetryPolicy(initial_interval=timedelta(milliseconds=20), max_attempts=2)
door = perdure.VirtualObject("Door", invocation_retry_policy=POLICY)
shop = perdure.Service("Shop", description="Sells things.", invocation_retry_policy=POLICY)

@door.handler()
async def open(ctx: perdure.ObjectContext, who: str) -> str:
    ctx.set("asked", who)
    answer = await ctx.signal("answer", type_hint=str)
    ctx.set("opened", answer)
    return f"{answer} {who}"

@door.handler()
async def count(ctx: perdure.ObjectContext) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + 1
    ctx.set("total", total)
    return total

@shop.handler()
async def buy(ctx: perdure.Context, what: str) -> str:
    note = await ctx.run_typed("note", write, what=what)
    await ctx.run_typed("charge", charge)
    return note

@shop.handler()
async def wait(ctx: perdure.Context) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "slept"

def write(what: str) -> str:
    with Path("notes").open("a") as notes:
        notes.write(what)
    return f"sold {what}"

def charge() -> str:
    if not Path("bank").exists():
        raise ConnectionError("the bank is closed")
    return "paid"

app = perdure.app([door, shop])
"""


class Operator:
    """A server, and somebody at a terminal who looks after it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "shop_app.py").write_text(APP)
        self.server = ServerProcess(["shop_app:app"], directory / "data", directory=directory)

    def start(self) -> None:
        self.server.start()
        self.server.wait_ready()

    def run(self, *arguments: str, answer: str = "", code: int = 0) -> str:
        """The command's output; that of a failure is what it said on stderr."""
        result = subprocess.run(
            [sys.executable, "-m", "perdure", *arguments],
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin", "PERDURE_ADMIN_URL": f"127.0.0.1:{self.server.admin_port}"},
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        assert "Traceback" not in result.stderr
        return result.stdout if code == 0 else result.stderr

    def stdout_of_failure(self, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "perdure", *arguments],
            env={"PATH": "/usr/bin:/bin", "PERDURE_ADMIN_URL": f"127.0.0.1:{self.server.admin_port}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 1
        return result.stdout

    def stats(self) -> Any:
        return self.admin("GET", "/perdure/stats").json()

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code))

    def send(self, path: str, body: object = None) -> str:
        sent = self.server.ingress().try_once("POST", f"{path}/send", body)
        assert sent.status == 202, sent.body
        answer = sent.json()
        assert isinstance(answer, dict)
        return str(answer["invocationId"])

    def until(self, invocation_id: str, status: str) -> Any:
        """Its description, once it has this status."""
        deadline = time.monotonic() + 20
        while True:
            shown = self.described(invocation_id)
            if shown["status"] == status:
                return shown
            assert time.monotonic() < deadline, f"still {shown['status']}: {shown['waits_for']}"
            time.sleep(0.02)

    def described(self, invocation_id: str) -> Any:
        """As `describe --json` shows it, without a process for each look."""
        answer = self.admin("GET", f"/perdure/invocations/{invocation_id}")
        return answer.json()

    def until_waiting(self, invocation_id: str, kind: str) -> Any:
        deadline = time.monotonic() + 20
        while True:
            shown = self.described(invocation_id)
            if [wait["kind"] for wait in shown["waits_for"]] == [kind]:
                return shown["waits_for"][0]
            assert time.monotonic() < deadline, shown["waits_for"]
            time.sleep(0.02)

    def admin(self, method: str, path: str) -> Any:
        caller = self.server.ingress()
        caller.port = self.server.admin_port
        return caller.try_once(method, path)

    def result(self, invocation_id: str) -> Any:
        return self.server.ingress().until_answered("GET", f"/restate/attach/{invocation_id}").json()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One server for the tests that disturb nobody."""
    operator = Operator(tmp_path_factory.mktemp("operating"))
    operator.start()
    yield operator
    operator.server.kill()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path)
    operator.start()
    yield operator
    if operator.server.running:
        operator.server.kill()


def test_services_and_their_handlers(shared: Operator) -> None:
    text = shared.run("services")
    assert [line.split() for line in text.splitlines()] == [
        ["service", "type", "reached", "handlers"],
        ["Door", "VirtualObject", "from", "outside", "open,", "count"],
        ["Shop", "Service", "from", "outside", "buy,", "wait"],
    ]
    one = shared.run("services", "Shop")
    assert "Sells things." in one
    assert "buy" in one and "JSON string" in one
    assert [each["name"] for each in shared.json("services")["services"]] == ["Door", "Shop"]
    assert "PD0521" in shared.run("services", "Nothing", code=1)


def test_an_invocation_that_waits_is_described_told_and_survives_kill_9(own: Operator) -> None:
    waiting = own.send("/Door/front/open", "Ann")
    behind = own.send("/Door/front/count")
    own.until_waiting(waiting, "signal")
    text = own.run("invocations", "describe", waiting)
    assert f"{waiting}  Door/front/open" in text
    assert "waits for  signal answer, for " in text
    assert [line.split()[3:] for line in text.splitlines() if "set state" in line] == [
        ["set", "state", "asked", "done"]
    ]
    assert f"held by {waiting}" in own.run("invocations", "describe", behind)

    own.server.kill()
    own.start()

    own.until_waiting(waiting, "signal")
    assert own.run("invocations", "signal", waiting, "answer", '"Come in,"') == f"{waiting}  told 'answer'\n"
    assert own.result(waiting) == "Come in, Ann"
    assert own.result(behind) == 1
    assert "was already completed." in own.run("invocations", "signal", waiting, "answer", "1", code=1)


def test_a_paused_invocation_shows_why_and_goes_on_after_kill_9(own: Operator) -> None:
    sold = own.send("/Shop/buy", "tea")
    paused = own.until(sold, "paused")
    assert paused["waits_for"][0]["kind"] == "person"
    text = own.run("invocations", "describe", sold)
    charge = next(line for line in text.splitlines() if "run charge" in line)
    assert "open" in charge and "failed 2 times" in charge and "the bank is closed" in charge
    assert re.search(
        "somebody who resumes, cancels or kills it, for [^;]+; its last attempt failed: .*the bank is closed\n", text
    )
    attempt, pause = [line.split() for line in text.splitlines()[-2:]]
    assert attempt[2:5] == ["attempt", "charge", "failed"] and pause[2:5] == ["pause", "charge", "failed"]
    assert attempt[-4:] == pause[-4:] == ["the", "bank", "is", "closed"]
    listed = own.run("invocations", "list", "--status", "paused")
    assert sold in listed and "500: ConnectionError: the bank is closed" in listed

    own.server.kill()
    own.start()

    (own.directory / "bank").touch()
    assert own.run("invocations", "resume", sold) == f"{sold}  goes on\n"
    assert own.result(sold) == "sold tea"
    assert (own.directory / "notes").read_text() == "tea", "the step before ran once"
    done = own.run("invocations", "describe", sold)
    assert "  status     completed\n" in done and '  result     "sold tea"\n' in done
    assert re.search(r"\n\d+ +\+[\d.]+ m?s +[\d.]+ m?s  run charge +done", done), "when it began, and how long it took"


def test_a_restart_keeps_the_prefix_and_runs_the_rest_again(own: Operator) -> None:
    (own.directory / "bank").touch()
    first = own.send("/Shop/buy", "milk")
    assert own.result(first) == "sold milk"
    moments = own.described(first)["timeline"]
    note = next(moment["index"] for moment in moments if moment["what"] == "run")
    answer = own.json("invocations", "restart", "--from", str(note), first)
    again = answer["succeeded"][0]["new_invocation_id"]
    assert own.result(again) == "sold milk"
    assert (own.directory / "notes").read_text() == "milk", "the copied step did not run again"
    _, fresh = own.run("invocations", "restart", first).split()
    assert own.result(fresh) == "sold milk"
    assert (own.directory / "notes").read_text() == "milkmilk"
    assert own.described(again)["origin"]["kind"] == "restart_as_new"
    beyond = moments[-1]["index"] + 1
    assert "without respective Completions" in own.run("invocations", "restart", "--from", str(beyond), first, code=1)


def test_lists_are_filtered_and_bounded(shared: Operator) -> None:
    made = [shared.send(f"/Door/list-{number}/open", "x") for number in range(3)]
    for each in made:
        shared.until_waiting(each, "signal")
    listed = shared.json("invocations", "list", "--service", "Door", "--status", "open", "--handler", "open")
    ids = [each["id"] for each in listed["invocations"]]
    assert [each for each in ids if each in made] == made[::-1], "the newest first"
    one = shared.json("invocations", "list", "--key", "list-1")
    assert [each["target"] for each in one["invocations"]] == ["Door/list-1/open"]
    two = shared.run("invocations", "list", "--service", "Door", "--limit", "2")
    assert len(two.splitlines()) == 3
    assert shared.json("invocations", "list", "--service", "Door", "--limit", "2")["more"] is True
    assert shared.json("invocations", "list", "--key", "nobody") == {"invocations": [], "more": False}


def test_bulk_operations_ask_first(shared: Operator) -> None:
    made = [shared.send(f"/Door/bulk-{number}/open", "x") for number in range(2)]
    for each in made:
        shared.until_waiting(each, "signal")
    filters = ("--service", "Door", "--key", "bulk-0")
    assert "Kill 1 invocation?" in shared.run("invocations", "kill", *filters, answer="n\n", code=1)
    assert shared.described(made[0])["status"] != "completed"
    assert shared.run("invocations", "kill", *filters, answer="y\n").splitlines() == [f"{made[0]}  killed"]
    assert shared.json("invocations", "cancel", "--key", "bulk-1", "--yes") == {"succeeded": [made[1]], "failed": []}
    assert shared.run("invocations", "pause", "--key", "bulk-1", "--handler", "nope", "--yes") == "nothing matches\n"
    assert "name invocations by their ids" in shared.run("invocations", "kill", code=2)
    assert "not by both" in shared.run("invocations", "kill", made[0], "--all", code=2)


def test_some_of_a_bulk_operation_may_fail(shared: Operator) -> None:
    waiting = shared.send("/Shop/wait")
    shared.until_waiting(waiting, "sleep")
    unknown = "inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"
    assert "sleep, in 59 m" in shared.run("invocations", "describe", waiting)
    result = shared.run("invocations", "pause", unknown, waiting, code=1)
    assert result == f"{unknown}  The requested invocation '{unknown}' does not exist\n"
    assert shared.described(waiting)["status"] == "paused"
    assert shared.run("invocations", "pause", waiting) == f"{waiting}  was paused already\n"
    assert shared.run("invocations", "resume", "--handler", "wait", "--yes") == f"{waiting}  goes on\n"
    assert shared.run("invocations", "kill", waiting) == f"{waiting}  killed\n"
    assert shared.run("invocations", "purge", "--journal", waiting) == f"{waiting}  its journal is gone\n"
    assert "Its journal is gone" in shared.run("invocations", "describe", waiting)
    assert shared.run("invocations", "purge", waiting) == f"{waiting}  forgotten\n"
    assert "does not exist" in shared.run("invocations", "describe", waiting, code=1)


def test_state_is_read_set_and_cleared(shared: Operator) -> None:
    assert shared.server.ingress().try_once("POST", "/Door/state/count").json() == 1
    assert shared.run("state", "get", "Door", "state", "total") == "1\n"
    assert shared.run("state", "set", "Door", "state", "total", "41") == "done\n"
    assert shared.server.ingress().try_once("POST", "/Door/state/count").json() == 42
    assert shared.run("state", "set", "Door", "state", "note", '"hi"') == "done\n"
    assert shared.json("state", "get", "Door", "state")["state"] == {"note": '"hi"', "total": "42"}
    assert "is no JSON" in shared.run("state", "set", "Door", "state", "note", "hi", code=2)
    assert shared.run("state", "set", "Door", "state", "note", "hi", "--raw") == "done\n"
    assert shared.run("state", "clear", "Door", "state", "note") == "done\n"
    assert shared.run("state", "get", "Door", "state").splitlines() == ["name   value", "total  42"]
    assert "Clear all 1 values" in shared.run("state", "clear", "Door", "state", answer="n\n", code=1)
    assert shared.run("state", "clear", "Door", "state", "--yes") == "done\n"
    assert shared.run("state", "get", "Door", "state") == "Door/state has no state\n"
    assert "has no 'total'; it has: nothing" in shared.run("state", "get", "Door", "state", "total", code=1)
    assert "service 'Nope' not found" in shared.run("state", "get", "Nope", "k", code=1)


def test_state_waits_for_the_handler_that_holds_the_key(shared: Operator) -> None:
    holder = shared.send("/Door/held/open", "Ann")
    shared.until_waiting(holder, "signal")
    said = shared.run("state", "set", "Door", "held", "asked", '"Bob"')
    assert said == f"accepted; it takes its turn after {holder}, if the state is then still as it is now\n"
    assert shared.json("state", "get", "Door", "held")["state"] == {"asked": '"Ann"'}
    shared.run("invocations", "kill", holder)
    assert shared.json("state", "get", "Door", "held")["state"] == {"asked": '"Bob"'}


@pytest.mark.parametrize(
    "arguments",
    [("invocations", "list"), ("invocations", "kill", "inv_1"), ("state", "get", "A", "k"), ("services",)],
)
def test_without_a_server_it_says_what_to_do(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "perdure", *arguments, "--admin-url", "http://127.0.0.1:1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("perdure: PD0520: no perdure server answers at http://127.0.0.1:1 ")
    assert "perdure serve" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("variable", ["PERDURE_ADMIN_URL", "RESTATE_ADMIN_URL"])
def test_the_address_comes_from_a_variable(shared: Operator, variable: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", variable: f"http://127.0.0.1:{shared.server.admin_port}/"}
    result = subprocess.run(
        [sys.executable, "-m", "perdure", "services"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "Shop" in result.stdout


def test_another_port_than_that_of_the_admin_api_is_noticed(shared: Operator) -> None:
    ingress = f"http://127.0.0.1:{shared.server.ingress_port}"
    result = subprocess.run(
        [sys.executable, "-m", "perdure", "services", "--admin-url", ingress],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "PD052" in result.stderr and "Traceback" not in result.stderr


def test_the_result_of_an_invocation_is_waited_for_across_kill_9(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.start()
    try:
        invocation_id = operator.send("/Door/front/open", "Ann")
        operator.until_waiting(invocation_id, "signal")
        waiting = subprocess.Popen(
            [sys.executable, "-m", "perdure", "invocations", "attach", invocation_id],
            env={"PATH": "/usr/bin:/bin", "PERDURE_ADMIN_URL": f"127.0.0.1:{operator.server.admin_port}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        while operator.stats()["callers"] < 1:
            assert waiting.poll() is None
            time.sleep(0.02)
        operator.server.kill()
        operator.start()
        operator.run("invocations", "signal", invocation_id, "answer", '"welcome"')
        assert waiting.communicate(timeout=30)[0] == '"welcome Ann"\n'
        assert waiting.returncode == 0
        assert operator.json("invocations", "attach", invocation_id) == {
            "invocation_id": invocation_id,
            "value": "welcome Ann",
        }

        killed = operator.send("/Shop/wait")
        operator.run("invocations", "kill", killed)
        assert operator.run("invocations", "attach", killed, code=1) == "409: killed\n"
        shown = json.loads(operator.stdout_of_failure("invocations", "attach", killed, "--json"))
        assert shown["failure"] == {"code": 409, "message": "killed", "metadata": {}}
        assert "PD0420" in operator.run("invocations", "attach", killed[:-1] + "A", code=1)
    finally:
        operator.server.kill()
