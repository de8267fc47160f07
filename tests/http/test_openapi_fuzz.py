"""What our own OpenAPI says can be sent, and what it does not: no answer is a server error, none is stored by halves.

schemathesis draws requests from the descriptions: good ones, and ones with something wrong in each place.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import perdure
from perdure.node.settings import EngineSettings
from perdure.partition.invariants import check_partition
from perdure.testing.threaded import ThreadedServer

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

echo = perdure.Service("Echo")
counter = perdure.VirtualObject("Counter")
signup = perdure.Workflow("Signup")


@dataclass
class Order:
    customer: str
    seats: list[int]
    note: str | None = None


@echo.handler()
async def say(ctx: perdure.Context, words: str) -> str:
    return words


@echo.handler()
async def order(ctx: perdure.Context, order: Order) -> int:
    return len(order.seats)


@echo.handler()
async def nothing(ctx: perdure.Context) -> None:
    return None


@counter.handler()
async def add(ctx: perdure.ObjectContext, number: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total


@signup.main()
async def run(ctx: perdure.WorkflowContext, name: str) -> str:
    return f"welcome {name}"


APP = perdure.app([echo, counter, signup])

EXAMPLES = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.generate,),  # what fails is said as it was drawn: to make it smaller takes minutes
)
ALLOWED_5XX = (501, 503)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedServer]:
    server = ThreadedServer(APP, EngineSettings(dev=True))
    server.start()
    yield server
    engine = server._node.engine
    for tables in engine.store.tables:
        check_partition(tables, range(1, tables.meta.next_seq))
    server.stop()


def described(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return schemathesis.openapi.from_dict(json.load(answer))


def operations(schema: Any) -> list[Any]:
    return [found.ok() for found in schema.get_all_operations()]


def try_each(schema: Any, base_url: str, *, negative: bool) -> int:
    """How many requests were sent. Fails by name for the first answer that should not be."""
    sent = 0
    mode = schemathesis.GenerationMode.NEGATIVE if negative else schemathesis.GenerationMode.POSITIVE
    for operation in operations(schema):

        @EXAMPLES
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            nonlocal sent
            if "uri" in (case.body if isinstance(case.body, dict) else {}):
                case.body["uri"] = "http://127.0.0.1:1/"  # nobody; and nobody else is asked
            response = case.call(base_url=base_url, timeout=10)
            sent += 1
            told = f"{case.method} {case.formatted_path} -> {response.status_code} {response.content[:200]!r}"
            nobody = b"META0003" in response.content  # there is no deployment at the address
            assert response.status_code < 500 or response.status_code in ALLOWED_5XX or nobody, told
            if response.status_code >= 400 and "json" in response.headers.get("content-type", ""):
                assert "message" in response.json(), told

        try:
            send()
        except Exception as error:
            if "Unsatisfiable" not in type(error).__name__:  # nothing can be wrong in some
                raise
    return sent


def healthy(server: ThreadedServer) -> None:
    request = urllib.request.Request(
        f"{server.ingress_url}/Echo/say", b'"on"', {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer) == "on"


@pytest.mark.parametrize("negative", [False, True], ids=["good", "wrong"])
def test_the_admin_api(server: ThreadedServer, negative: bool) -> None:
    assert try_each(described(f"{server.admin_url}/openapi"), server.admin_url, negative=negative) > 100
    healthy(server)


@pytest.mark.parametrize("negative", [False, True], ids=["good", "wrong"])
@pytest.mark.parametrize("service", ["Echo", "Counter", "Signup"])
def test_the_ingress_of_a_service(server: ThreadedServer, service: str, negative: bool) -> None:
    schema = described(f"{server.admin_url}/services/{service}/openapi")
    assert try_each(schema, server.ingress_url, negative=negative) > 5
    healthy(server)
