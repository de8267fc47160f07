"""The plugin, as the tests of somebody's project see it: pytest in another process, with and without other plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOP = """
import perdure
from datetime import timedelta

shop = perdure.Service("Shop")

def charge(card: str) -> str:
    raise AssertionError("the bank")

@shop.handler()
async def buy(ctx: perdure.Context, card: str) -> str:
    await ctx.sleep(timedelta(days=3))
    return await ctx.run_typed("charge", charge, card=card)

app = perdure.app([shop])
"""
CONFTEST = """
import pytest
from shop import app

@pytest.fixture
def perdure_app():
    return app
"""
TEST = """
import pytest
from shop import buy

{mark}
@pytest.mark.perdure(always_replay=True)
async def test_buy(perdure_node):
    assert perdure_node.engine.settings.always_replay
    mock = perdure_node.mock_step("charge", returning="paid")
    assert await perdure_node.client.service_call(buy, "42") == "paid"
    assert mock.called
"""


def run_pytest(directory: Path, *arguments: str, test: str = TEST, mark: str = "") -> subprocess.CompletedProcess[str]:
    (directory / "shop.py").write_text(SHOP)
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_shop.py").write_text(test.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_with_pytest_asyncio(mode: str, tmp_path: Path) -> None:
    result = run_pytest(tmp_path, f"--asyncio-mode={mode}", mark="@pytest.mark.asyncio")
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout


def test_with_anyio_alone(tmp_path: Path) -> None:
    backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    result = run_pytest(tmp_path, "-p", "no:asyncio", test=TEST + backend, mark="@pytest.mark.anyio")
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout


def test_without_an_app_it_says_what_to_do(tmp_path: Path) -> None:
    run_pytest(tmp_path)
    (tmp_path / "conftest.py").unlink()
    command = [sys.executable, "-m", "pytest", "-q", "--asyncio-mode=auto", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "needs a fixture `perdure_app`" in result.stdout


def test_it_costs_nothing_where_it_is_not_used(tmp_path: Path) -> None:
    """No module of the engine or of the author's side is imported, and nothing of perdure without pytest."""
    test = """
import sys

def test_modules():
    loaded = sorted(name for name in sys.modules if name.startswith(("perdure", "apsw", "msgspec", "httptools")))
    print(loaded)
    assert set(loaded) <= {{"perdure", "perdure.testing", "perdure.testing.pytest_plugin", "perdure.testing.fixtures",
                           "perdure.testing.fixtures_for_asyncio"}}
"""
    (tmp_path / "test_modules.py").write_text(test.format())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_the_tools_need_no_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "import perdure.testing as t\n"
        "assert [getattr(t, name) for name in t.__all__] and t.node([]) is not None"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
