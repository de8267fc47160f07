"""FastAPI and Starlette with a node inside: what their READMEs say, from outside, with a SIGKILL in between."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.examples.web import said, web

pytest.importorskip("fastapi")


@pytest.mark.slow
def test_fastapi_orders_wait_through_a_kill(tmp_path: Path) -> None:
    with web("examples.fastapi_app.app:api", ORDERS_DATA=str(tmp_path / "data")) as process:
        caller = process.start()
        assert caller.try_once("GET", "/orders/7").status == 404
        status, placed = said(caller.try_once("POST", "/orders/7", {"item": "tea", "cents": 900}))
        assert status == 202 and isinstance(placed, dict) and placed["placed_before"] is False
        assert said(caller.try_once("GET", "/orders/7")) == (200, None)
        assert caller.try_once("POST", "/orders/8", {"item": "tea"}).status == 422

        process.end(signal.SIGKILL)
        caller = process.start()

        status, again = said(caller.try_once("POST", "/orders/7", {"item": "tea", "cents": 900}))
        assert again == {"invocation": placed["invocation"], "placed_before": True}
        assert said(caller.try_once("GET", "/orders/7")) == (200, None)
        assert caller.try_once("POST", "/orders/7/payment?cents=900").status == 204
        shipped = {"status": "shipped", "parcel": "parcel with tea"}
        assert said(caller.try_once("GET", "/durable/restate/workflow/Order/7/attach")) == (200, shipped)
        assert said(caller.try_once("GET", "/orders/7")) == (200, shipped)
        listed = caller.try_once("GET", "/durable/admin/services/Order")
        assert listed.status == 200
        assert process.end(signal.SIGTERM) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_starlette_counts_through_a_kill(tmp_path: Path) -> None:
    with web("examples.starlette_app.app:application", VISITS_DATA=str(tmp_path / "data")) as process:
        caller = process.start()
        assert caller.try_once("GET", "/pages/ann").body == b"ann was seen 1 times.\n"
        assert said(caller.try_once("POST", "/durable/Visits/ann/count")) == (200, 2)
        process.end(signal.SIGKILL)
        caller = process.start()
        assert caller.try_once("GET", "/pages/ann").body == b"ann was seen 3 times.\n"
