"""`perdure serve` as a process: what it prints, how it stops, and how it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest

from perdure.testing.process import Answer, ServerProcess

pytestmark = pytest.mark.slow

APP = """
import os, pathlib, threading, time
import perdure

counter = perdure.VirtualObject("Counter")
gate = pathlib.Path(os.environ.get("GATE", "."))

@counter.handler()
async def add(ctx: perdure.ObjectContext, amount: int) -> int:
    total = await ctx.get("total", type_hint=int, default=0) + amount
    ctx.set("total", total)
    return total

def wait_for_the_gate() -> str:
    (gate / "waiting").touch()
    while not (gate / "open").exists():
        time.sleep(0.005)
    return "through"

@counter.handler()
async def pass_the_gate(ctx: perdure.ObjectContext) -> str:
    return await ctx.run_typed("gate", wait_for_the_gate)

@counter.handler()
async def link(ctx: perdure.ObjectContext) -> str:
    name, _ = ctx.awakeable()
    return ctx.awakeable_url(name)

app = perdure.app([counter])
"""


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    (tmp_path / "counting.py").write_text(APP)
    return ServerProcess(["counting:app"], tmp_path / "data", directory=tmp_path, environment={"GATE": str(tmp_path)})


@pytest.fixture(autouse=True)
def _nothing_left_running(server: ServerProcess) -> object:
    yield
    if server.running:
        server.kill()


def add(server: ServerProcess, amount: int) -> object:
    return (
        server.ingress()
        .until_answered("POST", "/Counter/a/add", amount, {"idempotency-key": os.urandom(8).hex()})
        .json()
    )


def wait_until(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def test_calls_survive_kill_9_and_a_stop(server: ServerProcess) -> None:
    server.start()
    assert add(server, 1) == 1
    server.kill()
    server.start()
    assert add(server, 10) == 11
    assert server.stop() == 0
    server.start()
    assert add(server, 100) == 111
    assert server.stop() == 0


def test_the_start_says_where_to_call_and_what_was_recovered(server: ServerProcess) -> None:
    server.start()
    server.wait_ready()
    add(server, 1)
    server.kill()
    server.output.unlink()
    server.start()
    server.wait_ready()
    server.stop()
    text = server.output.read_text()
    assert f"ready: ingress http://127.0.0.1:{server.ingress_port}, admin http://127.0.0.1:{server.admin_port}" in text
    assert f"POST http://127.0.0.1:{server.ingress_port}/Counter/{{key}}/add" in text
    assert "records replayed" in text and "recovered: 0 records" not in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_step_finish_and_ends_with_0(
    server: ServerProcess, tmp_path: Path, number: signal.Signals
) -> None:
    answers: list[Answer] = []
    server.start()
    server.wait_ready()
    caller = server.ingress()
    call = threading.Thread(
        target=lambda: answers.append(
            caller.until_answered("POST", "/Counter/a/pass_the_gate", None, {"idempotency-key": "one"})
        )
    )
    call.start()
    wait_until(tmp_path / "waiting")
    server.signal(number)
    wait_for_line(server, "stopping")
    (tmp_path / "open").touch()
    assert server.wait() == 0
    (tmp_path / "open").unlink()
    (tmp_path / "waiting").unlink()
    server.start()
    call.join()
    assert answers[0].json() == "through"
    assert not (tmp_path / "waiting").exists(), "the step that had finished ran again"


def wait_for_line(server: ServerProcess, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in server.output.read_text():
        assert time.monotonic() < deadline, server.output_tail()
        time.sleep(0.005)


def test_a_second_signal_ends_it_at_once(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    server.wait_ready()
    accepted = server.ingress().try_once("POST", "/Counter/a/pass_the_gate/send")
    assert accepted.status == 202
    wait_until(tmp_path / "waiting")
    server.signal(signal.SIGTERM)
    wait_for_line(server, "stopping")
    server.signal(signal.SIGTERM)
    assert server.wait(5) == 128 + signal.SIGTERM


def test_a_directory_in_use_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    server.wait_ready()
    second = ServerProcess(["counting:app"], tmp_path / "data", directory=tmp_path)
    second.output = tmp_path / "second.output"
    second.start()
    assert second.wait() == 1
    assert "perdure: PD0211: " in second.output_tail()
    assert "Traceback" not in second.output_tail()
    assert add(server, 1) == 1


def refused(server: ServerProcess) -> str:
    """The one line with which the server ended instead of starting."""
    server.output.unlink(missing_ok=True)
    server.start()
    assert server.wait() == 1
    text = server.output.read_text()
    assert "Traceback" not in text
    return text


def test_another_number_of_partitions_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    add(server, 1)
    server.stop()
    other = ServerProcess(["counting:app"], tmp_path / "data", directory=tmp_path, settings={"partitions": 2})
    assert "PD0212" in refused(other)


def test_another_format_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    add(server, 1)
    server.stop()
    identity = tmp_path / "data" / "perdure.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "format": 99}))
    assert "has format 99" in refused(server)


def test_a_damaged_log_is_refused_with_the_place(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    add(server, 1)
    server.stop()
    (segment,) = (tmp_path / "data" / "log").glob("*1.log")
    with segment.open("r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 32)
    assert "PD0101" in (text := refused(server))
    assert segment.name in text


def test_a_port_in_use_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    server.wait_ready()
    other = ServerProcess(["counting:app"], tmp_path / "other", directory=tmp_path)
    other.ingress_port = server.ingress_port
    assert f"cannot listen on 127.0.0.1:{server.ingress_port}" in refused(other)


def test_a_failing_disk_ends_it_with_1_and_the_code(server: ServerProcess, tmp_path: Path) -> None:
    server.start()
    assert add(server, 1) == 1
    # From here on, writes of the process behind the first 16 KiB of a file fail.
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (16 * 1024, resource.RLIM_INFINITY))
    large = b" " * 32 * 1024 + b"1"
    with contextlib.suppress(OSError, http.client.HTTPException):
        answer = server.ingress().try_once("POST", "/Counter/a/add", large, {"content-type": "application/json"})
        assert answer.status == 503
    assert server.wait() == 1
    assert "perdure: PD010" in server.output_tail(1)
    assert add_after_a_start(server) == 2


def add_after_a_start(server: ServerProcess) -> object:
    server.start()
    return add(server, 1)


def test_a_missing_module_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    wrong = ServerProcess(["countless:app"], tmp_path / "data", directory=tmp_path)
    assert "PD0504: countless:app cannot be loaded: there is no module countless." in refused(wrong)
    assert not (tmp_path / "data").exists()


def test_a_stop_during_recovery_ends_with_0(server: ServerProcess) -> None:
    server.start()
    server.wait_ready()
    for _ in range(3):
        add(server, 1)
    server.kill()
    server.start()
    wait_for_port(server)
    assert server.stop() == 0


def wait_for_port(server: ServerProcess) -> None:
    while True:
        server.check_alive()
        try:
            server.ingress().try_once("GET", "/restate/health")
            return
        except OSError:
            time.sleep(0.001)


def test_the_url_of_an_awakeable_is_the_servers_or_the_one_that_the_settings_name(
    server: ServerProcess, tmp_path: Path
) -> None:
    server.start()
    link = server.ingress().until_answered("POST", "/Counter/a/link").json()
    assert isinstance(link, str)
    assert link.startswith(f"http://127.0.0.1:{server.ingress_port}/restate/awakeables/sign_1")
    path = link.partition(str(server.ingress_port))[2]
    assert server.ingress().until_answered("POST", path, "anything").status == 202
    server.kill()

    outside = ServerProcess(
        ["counting:app"],
        tmp_path / "data",
        directory=tmp_path,
        environment={"GATE": str(tmp_path), "PERDURE_INGRESS_URL": "https://shop.example"},
    )
    outside.start()
    try:
        link = outside.ingress().until_answered("POST", "/Counter/a/link").json()
    finally:
        outside.stop()
    assert isinstance(link, str) and link.startswith("https://shop.example/restate/awakeables/sign_1")
