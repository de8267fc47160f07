"""The program for Restate's SDK: over HTTP with a SIGKILL while it waits, and still a program for that SDK."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from perdure.testing.process import ServerProcess
from tests.processes import wait_until

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "examples" / "from_restate" / "app.py").read_text()


@pytest.mark.slow
def test_a_payment_waits_across_a_kill(tmp_path: Path) -> None:
    server = ServerProcess(["examples.from_restate.app:app"], tmp_path / "data", directory=ROOT)
    server.start()
    try:
        caller = server.ingress()
        assert caller.until_answered("POST", "/Greeter/greet", "Ann").json() == "Hello Ann!"
        assert caller.until_answered("POST", "/Cart/ann/check_out").status == 409
        assert caller.until_answered("POST", "/Cart/ann/add", {"name": "hat", "price": 9.5}).json() == 9.5
        assert caller.until_answered("POST", "/Cart/ann/total").json() == 9.5
        order: Any = caller.until_answered("POST", "/Cart/ann/check_out").json()
        waiting = b'"waiting for the bank"'
        wait_until(lambda: caller.until_answered("POST", f"/Payment/{order}/status").body == waiting)
        server.kill()
        server.start()
        caller = server.ingress()
        assert caller.until_answered("POST", "/Cart/ann/total").json() == 0
        caller.until_answered("POST", f"/Payment/{order}/bank_says", True)
        attached = caller.until_answered("GET", f"/restate/workflow/Payment/{order}/attach")
        assert attached.json() == "9.5 paid"
        assert caller.until_answered("POST", f"/Payment/{order}/status").json() == "paid"
        assert server.stop() == 0
    finally:
        if server.running:
            server.kill()


def test_with_the_import_changed_back_it_is_a_program_for_the_official_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("restate")
    assert SOURCE.count("perdure") == 1
    module = types.ModuleType("from_restate_official")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(SOURCE.replace("import perdure as restate", "import restate"), "app.py", "exec"), vars(module))
    assert [service.name for service in (module.greeter, module.cart, module.payment)] == ["Greeter", "Cart", "Payment"]
