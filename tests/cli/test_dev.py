"""`perdure dev`: a change of the source starts the server again, on the same data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.dev import fingerprint
from perdure.testing.process import Caller, ServerProcess

APP = """
import perdure
counter = perdure.VirtualObject("Counter")

@counter.handler()
async def add(ctx: perdure.ObjectContext, amount: int) -> str:
    total = await ctx.get("total", type_hint=int, default=0) + amount
    ctx.set("total", total)
    return f"WORD {total}"

app = perdure.app([counter])
"""


LOGGING = """
import logging
from datetime import timedelta
import perdure

log = logging.getLogger("shop")
shop = perdure.Service("Shop")

@shop.handler()
async def buy(ctx: perdure.Context, what: str) -> str:
    log.info("asked for %s", what)
    await ctx.run_typed("charge", lambda: log.info("charging"))
    log.info("charged")
    await ctx.sleep(timedelta(milliseconds=20))
    print("slept, said with print")
    log.info("slept")
    return await ctx.signal("word", type_hint=str)

app = perdure.app([shop])
"""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Caller, Path]]:
    (tmp_path / "counting.py").write_text(APP.replace("WORD", "first"))
    ports = ServerProcess([], tmp_path / "data")
    command = [sys.executable, "-m", "perdure", "dev", "counting:app", "--data", str(tmp_path / "data")]
    command += ["--ingress", f"127.0.0.1:{ports.ingress_port}", "--admin", f"127.0.0.1:{ports.admin_port}"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)
    yield process, Caller(ports.ingress_port, timeout_s=30), tmp_path
    if process.poll() is None:
        process.terminate()
        process.wait(20)


def add(caller: Caller) -> object:
    key = os.urandom(8).hex()
    return caller.until_answered("POST", "/Counter/a/add", 1, {"idempotency-key": key}).json()


def wait_for(output: Path, text: str, times: int = 1) -> None:
    deadline = time.monotonic() + 30
    while output.read_text().count(text) < times:
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_change_starts_it_again_and_ctrl_c_ends_it(dev: tuple[subprocess.Popen[bytes], Caller, Path]) -> None:
    process, caller, directory = dev
    assert add(caller) == "first 1"
    (directory / "counting.py").write_text(APP.replace("WORD", "second"))
    wait_for(directory / "output", "counting.py changed; starting again")
    wait_for(directory / "output", "ready: ", times=2)
    assert add(caller) == "second 2"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


@pytest.mark.slow
def test_a_broken_module_is_shown_and_mended(dev: tuple[subprocess.Popen[bytes], Caller, Path]) -> None:
    process, caller, directory = dev
    assert add(caller) == "first 1"
    (directory / "counting.py").write_text("import nonsense_of_this_test\n")
    wait_for(directory / "output", "it starts again when a file changes")
    assert "No module named 'nonsense_of_this_test'" in (directory / "output").read_text()
    (directory / "counting.py").write_text(APP.replace("WORD", "third"))
    assert add(caller) == "third 2"
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.slow
def test_each_line_of_logging_appears_once_also_when_it_is_replayed_under_changed_code(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(LOGGING)
    ports = ServerProcess([], tmp_path / "data")
    command = [sys.executable, "-m", "perdure", "dev", "shop:app", "--data", str(tmp_path / "data")]
    command += ["--ingress", f"127.0.0.1:{ports.ingress_port}", "--admin", f"127.0.0.1:{ports.admin_port}"]
    command += ["--set", "always_replay=true"]  # the handler runs again from its first line at every wait
    output = tmp_path / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=stream, stderr=subprocess.STDOUT)
    caller, admin = Caller(ports.ingress_port, timeout_s=30), Caller(ports.admin_port, timeout_s=30)
    try:
        sent = caller.until_answered("POST", "/Shop/buy/send", "a hat")
        wait_for(output, "shop  slept")
        (tmp_path / "shop.py").write_text(LOGGING + "# changed\n")
        wait_for(output, "ready: ", times=2)
        admin.until_answered("POST", f"/perdure/invocations/{sent.invocation_id}/signals/word", "bye")
        assert caller.until_answered("GET", f"/restate/attach/{sent.invocation_id}").json() == "bye"
    finally:
        process.terminate()
        assert process.wait(20) == 0
    said = output.read_text()
    for line in ("asked for a hat", "charging", "charged", "shop  slept"):
        assert said.count(line) == 1, f"{line!r} appears once\n{said}"
    assert said.count("slept, said with print") > 1, "the handler was replayed, and print knows nothing of it"


def test_the_fingerprint_sees_sources_and_the_settings_and_nothing_else(tmp_path: Path) -> None:
    for name in (
        "a.py",
        "deep/b.py",
        "perdure.toml",
        "notes.txt",
        ".venv/c.py",
        "node_modules/d.py",
        "x/__pycache__/e.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    seen = fingerprint(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in seen} == {"a.py", "deep/b.py", "perdure.toml"}
    (tmp_path / "deep/b.py").write_text("22")
    assert {path.name for path, was in fingerprint(tmp_path).items() if seen[path] != was} == {"b.py"}
    (tmp_path / "a.py").unlink()
    assert fingerprint(tmp_path).keys() == seen.keys() - {tmp_path / "a.py"}
