"""Reports: the commands of the README over HTTP; a server that is killed under its worker, a worker that is stuck."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from perdure.testing.process import ServerProcess
from tests.processes import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def server_of(tmp_path: Path, timeout_s: float) -> ServerProcess:
    data = tmp_path / "csv"
    data.mkdir(exist_ok=True)
    (data / "sales.csv").write_text("2\n4\n4\n4\n5\n5\n7\n9\n")
    return ServerProcess(
        ["examples.reports.app:app"],
        tmp_path / "data",
        directory=ROOT,
        settings={"step_processes": 1},
        environment={"REPORTS_DATA": str(data), "REPORTS_TIMEOUT_S": str(timeout_s)},
    )


def lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True
    return False


def test_a_report_survives_a_kill_under_its_worker(tmp_path: Path) -> None:
    server = server_of(tmp_path, timeout_s=60)
    csv = tmp_path / "csv"
    (csv / "sales.stuck").touch()
    server.start()
    try:
        sent = server.ingress().until_answered("POST", "/Report/2026/make/send", "sales")
        wait_until(lambda: (csv / "sales.worker").exists() and (csv / "sales.worker").read_text() != "")
        worker = int((csv / "sales.worker").read_text())
        assert server.ingress().until_answered("POST", "/Report/2026/made", "sales").body == b"", "others are answered"
        server.kill()
        wait_until(lambda: not lives(worker))
        (csv / "sales.csv").write_text("1\n1000\n")  # what was read is recorded and not read again
        (csv / "sales.stuck").unlink()
        server.start()
        result = server.ingress().until_answered("GET", f"/restate/invocation/{sent.invocation_id}/attach")
        assert result.json() == 2.0
        assert server.ingress().until_answered("POST", "/Report/2026/made", "sales").json() == 2.0
        table = server.ingress().until_answered("POST", "/Report/2026/table")
        assert (table.headers["content-type"], table.body) == ("text/csv", b"sales,2.0\n")
        assert server.stop() == 0
    finally:
        if server.running:
            server.signal(signal.SIGKILL)


def test_a_stuck_worker_is_killed_and_the_step_tried_again(tmp_path: Path) -> None:
    server = server_of(tmp_path, timeout_s=3)
    csv = tmp_path / "csv"
    (csv / "sales.stuck").touch()
    server.start()
    try:
        sent = server.ingress().until_answered("POST", "/Report/2026/make/send", "sales")
        wait_until(lambda: (csv / "sales.worker").exists() and (csv / "sales.worker").read_text() != "")
        worker = int((csv / "sales.worker").read_text())
        wait_until(lambda: not lives(worker))
        (csv / "sales.stuck").unlink()
        result = server.ingress().until_answered("GET", f"/restate/invocation/{sent.invocation_id}/attach")
        assert result.json() == 2.0
        assert int((csv / "sales.worker").read_text()) != worker
    finally:
        server.kill()
