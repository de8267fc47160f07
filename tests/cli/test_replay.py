"""`perdure replay`: a killed server's open invocations against the same code, other code and worse code."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess

pytestmark = pytest.mark.slow

ORIGINAL = """
from datetime import timedelta
from pathlib import Path
import perdure

shop = perdure.Service("Shop")
desk = perdure.VirtualObject("Desk")


def charge() -> str:
    with Path("charged").open("a") as file:
        file.write("x")
    return "charged"


@shop.handler()
async def buy(ctx: perdure.Context) -> str:
    await ctx.run_typed("charge", charge)
    await ctx.awakeable(type_hint=str)[1]
    return await ctx.run_typed("again", charge)


@shop.handler()
async def later(ctx: perdure.Context) -> str:
    await ctx.sleep(timedelta(days=1))
    return "done"


@desk.handler()
async def serve(ctx: perdure.ObjectContext) -> None:
    ctx.set("open", True)
    await ctx.awakeable(type_hint=str)[1]


app = perdure.app([shop, desk])
"""


def replay(directory: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "replay", "shop:app", "--data", "data", *flags]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)


def contents(directory: Path) -> dict[str, str]:
    """Of every file below, by name: a digest, and when it was last changed."""
    return {
        str(path.relative_to(directory)): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with shop.py and the data of a server that was killed: three invocations wait, two behind one key."""
    directory = tmp_path_factory.mktemp("killed")
    (directory / "shop.py").write_text(ORIGINAL)
    server = ServerProcess(["shop:app"], directory / "data", directory=directory)
    server.start()
    server.wait_ready()
    try:
        caller = server.ingress(30)
        for path in ("/Shop/buy", "/Shop/later", "/Desk/1/serve", "/Desk/1/serve"):
            assert caller.until_answered("POST", f"{path}/send").status == 202
        deadline = time.monotonic() + 30
        while not (directory / "charged").exists():
            assert time.monotonic() < deadline
        assert (
            caller.until_answered("POST", "/Shop/later/send").status == 202
        )  # the step's result went to the log before
        busy = replay(directory)
        assert busy.returncode == 2 and "in use by process" in busy.stderr
    finally:
        server.kill()
    return directory


@pytest.fixture
def place(killed: Path) -> Any:
    yield killed
    (killed / "shop.py").write_text(ORIGINAL)


def judged(directory: Path, code: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of other code; nothing on disk may have changed by it."""
    (directory / "shop.py").write_text(code)
    before = contents(directory / "data")
    done = replay(directory, "--json")
    assert done.stderr == ""
    assert contents(directory / "data") == before
    assert (directory / "charged").read_text() == "x", "no step was started"
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def breaking(report: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for each in report["invocations"]:
        if each["cause"] is not None:
            found.setdefault(each["handler"], []).append((each["cause"], each["message"]))
    return found


def test_the_same_code_fits(place: Path) -> None:
    code, report = judged(place, ORIGINAL)
    assert (code, report["open"], report["breaking"]) == (0, 5, 0)
    assert all(each["same_code"] for each in report["invocations"])


def test_an_app_that_sets_up_its_own_logging_keeps_the_report_clean(place: Path) -> None:
    """`judged` sees to it that nothing stands beside the report."""
    code = "import logging\nlogging.basicConfig(level=logging.INFO)\n" + ORIGINAL.replace(
        '    await ctx.run_typed("charge", charge)\n',
        '    logging.info("buying")\n    await ctx.run_typed("bill", charge)\n',
    )
    assert list(breaking(judged(place, code)[1])) == ["Shop/buy"]


def test_a_change_behind_the_journals_end_fits(place: Path) -> None:
    code, report = judged(place, ORIGINAL.replace('"again"', '"once more"'))
    assert (code, report["breaking"]) == (0, 0)
    assert not any(each["same_code"] for each in report["invocations"])


def test_a_renamed_step_breaks_who_has_taken_it(place: Path) -> None:
    code, report = judged(place, ORIGINAL.replace('"charge"', '"bill"'))
    assert code == 1
    [(cause, message)] = breaking(report).pop("Shop/buy")
    assert cause == "mismatch" and report["breaking"] == 1
    assert 'the journal says run "charge" (no line of ' in message
    assert ' asks for it any more), the code now issues run "bill"' in message
    line = ORIGINAL.splitlines().index('    await ctx.run_typed("charge", charge)') + 1
    assert f"shop.py:{line}, in buy" in message
    assert "accepted by other code" in message


def test_a_handler_that_is_gone_and_one_that_fails(place: Path) -> None:
    code = ORIGINAL.replace("async def later", "async def much_later").replace('ctx.set("open", True)', "1 / 0")
    exit_code, report = judged(place, code)
    assert exit_code == 1
    found = breaking(report)
    assert [cause for cause, _ in found.pop("Shop/later")] == ["gone", "gone"]
    [(cause, message)] = found.pop("Desk/serve")
    assert cause == "fails" and "ZeroDivisionError" in message, "the one that waits for its key has not begun"
    assert not found


def test_the_report_for_people(place: Path) -> None:
    (place / "shop.py").write_text(ORIGINAL.replace('"charge"', '"bill"'))
    done = replay(place)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("BREAKS  Shop/buy  inv_")
    assert lines[1].startswith("        mismatch: journal mismatch at command 1")
    assert lines[2:] == [
        "Desk/serve: 2 open, 0 would break",
        "Shop/buy: 1 open, 1 would break",
        "Shop/later: 2 open, 0 would break",
        "5 open invocations, 1 would break",
    ]


def test_what_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(ORIGINAL)
    done = replay(tmp_path)
    assert done.returncode == 2 and "is no data directory" in done.stderr
    assert not (tmp_path / "data").exists()
