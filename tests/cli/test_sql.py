"""`perdure sql`, `--pg` and the settings of queries, with a real server; and the official command line against it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.testing.process import ServerProcess, free_ports
from tests.components import require

pytestmark = pytest.mark.slow
APP = """
from datetime import timedelta
import perdure

shop = perdure.Service("Shop")
cart = perdure.VirtualObject("Cart")

@shop.handler()
async def buy(ctx: perdure.Context, what: str) -> str:
    return await ctx.run_typed("price", lambda: f"{what} for 7")

@cart.handler()
async def hold(ctx: perdure.ObjectContext) -> None:
    ctx.set("held", True)
    await ctx.sleep(timedelta(hours=1))

app = perdure.app([shop, cart])
"""


class Shop:
    def __init__(self, directory: Path) -> None:
        (self.pg_port,) = free_ports(1)
        (directory / "shop_app.py").write_text(APP)
        settings = {"pg": f"127.0.0.1:{self.pg_port}", "query_timeout": "5s", "query_memory": "512MiB"}
        self.server = ServerProcess(["shop_app:app"], directory / "data", directory=directory, settings=settings)
        self.url = f"http://127.0.0.1:{self.server.admin_port}"

    def sql(self, *arguments: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "perdure", "sql", "--admin-url", self.url, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
        assert done.returncode == code, done.stderr
        return done

    def send(self, path: str) -> str:
        answer: Any = self.server.ingress().try_once("POST", f"{path}/send").json()
        return str(answer["invocationId"])

    def call(self, path: str, body: object) -> str:
        return self.server.ingress().try_once("POST", path, body).invocation_id


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.server.start()
    shop.server.wait_ready()
    yield shop
    if shop.server.running:
        shop.server.kill()


def test_a_table_for_people(shop: Shop) -> None:
    id_ = shop.call("/Shop/buy", "tea")
    done = shop.sql(f"SELECT id, journal_size, scope, completion_retention FROM sys_invocation WHERE id = '{id_}'")
    head, row = done.stdout.splitlines()
    assert head.split() == ["id", "journal_size", "scope", "completion_retention"]
    assert row.split() == [id_, "4", "PT86400S"]
    assert row.index(" 4 ") + 1 == head.index("journal_size") + len("journal_size") - 1, "numbers stand to the right"
    assert done.stderr == "(1 row)\n"


def test_json_for_machines(shop: Shop) -> None:
    id_ = shop.call("/Shop/buy", "cup")
    done = shop.sql("--json", f"SELECT status, scope FROM sys_invocation WHERE id = '{id_}'")
    assert json.loads(done.stdout) == [{"status": "completed"}]


def test_a_query_from_the_standard_input(shop: Shop) -> None:
    assert shop.sql(
        input="SELECT 1 AS one,\n 'a\nb' AS text, NULL AS nothing, make_array(1) AS list"
    ).stdout.splitlines() == [
        "one  text  nothing  list",
        "  1  a\\nb           [1]",
    ]


def test_refusals(shop: Shop) -> None:
    assert shop.sql("selec", code=1).stderr.startswith("perdure: PD0521: syntax error: ")
    assert "DELETE is refused" in shop.sql("DELETE FROM state", code=1).stderr
    assert "took longer than 5 s" in shop.sql("SELECT count(*) FROM generate_series(1, 1000000000000)", code=1).stderr


def test_clients_of_postgresql(shop: Shop) -> None:
    id_ = shop.call("/Shop/buy", "pot")
    with psycopg.connect(host="127.0.0.1", port=shop.pg_port, user="me", dbname="x") as connection:
        row = connection.execute("SELECT target, status FROM sys_invocation WHERE id = %s", (id_,)).fetchone()
    assert row == ("Shop/buy", "completed")
    assert f"sql postgresql://127.0.0.1:{shop.pg_port}" in shop.server.output.read_text()
    if shutil.which("psql") is not None:
        command = ["psql", "-X", "-h", "127.0.0.1", "-p", str(shop.pg_port), "-c", r"\dt"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        assert "sys_invocation" in shown


def test_the_official_command_line(shop: Shop, tmp_path: Path) -> None:
    """Each of its commands that asks SQL, from beginning to end."""
    binary = require("restate")
    done = shop.call("/Shop/buy", "tea")
    holding, queued = shop.send("/Cart/a/hold"), shop.send("/Cart/a/hold")
    deadline = time.monotonic() + 20
    while '"suspended"' not in shop.sql("--json", f"SELECT status FROM sys_invocation WHERE id = '{holding}'").stdout:
        assert time.monotonic() < deadline
    environment = {
        **os.environ,
        "RESTATE_ADMIN_URL": shop.url,
        "RESTATE_CLI_CONFIG_HOME": str(tmp_path),
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }

    def restate(*arguments: str) -> str:
        result = subprocess.run(
            [str(binary), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
        return result.stdout

    listed = restate("invocations", "list")
    assert holding in listed and queued in listed and done not in listed
    assert done in restate("invocations", "list", "--all")
    described = restate("invocations", "describe", done)
    assert "completed with success" in described and "Command: Run [price]" in described
    status = restate("services", "status", "Cart")
    assert holding in status and "suspended" in status
    assert "hold" in restate("services", "status")
    assert "Active" in restate("deployments", "list", "--extra")
    assert "held" in restate("state", "get", "Cart", "a")
    rows = restate("sql", "--json", f"SELECT id FROM sys_invocation WHERE id = '{done}'")
    assert json.loads(rows.strip().splitlines()[0].partition("]")[0] + "]") == [{"id": done}]
    restate("rules", "list")
    restate("vqueues", "list")
    assert queued in restate("invocations", "cancel", "-y", queued)
    assert holding in restate("invocations", "kill", "-y", "Cart/a")
    assert done in restate("invocations", "purge", "-y", done)
    assert shop.sql("--json", f"SELECT id FROM sys_invocation WHERE id = '{done}'").stdout == "[]\n"
