"""Whatever is sent to the admin port: an answer that HTTP allows, a refusal by name, and an engine that goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.partition.invariants import check_partition
from tests.http.test_fuzz import BODY, HEADERS, METHOD, PIECES, QUERY

pytestmark = pytest.mark.slow

ID = "inv_1kWHPJ8EdIa67slYDwAjggtZU5n9JnhLWN"
COLLECTIONS = "deployments services invocations subscriptions kafka-clusters vqueues rules query openapi health version"
PLACES = (
    "cluster-health perdure stats handlers state cancel kill purge purge-journal pause resume restart-as-new signals"
)
ODD = "reject Echo Counter say key dp_1 inv_1 sign_1 .. % %00 %ff"
WORDS = f"{COLLECTIONS} {PLACES} {ODD}".split()
SEGMENT = st.sampled_from([*WORDS, ID]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?# "), max_size=12
)
PATH = st.lists(SEGMENT, max_size=6).map(lambda parts: "/" + "/".join(parts))
FIELDS = st.sampled_from(["service", "version", "new_state", "object_key", "query", "force", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def run(new_world: Any, check: Callable[[Any], Awaitable[None]]) -> None:
    async def once() -> None:
        world = await new_world()
        await world.start()
        try:
            await asyncio.wait_for(check(world), 30)
            for tables in world.engine.store.tables:
                check_partition(tables, range(1, tables.meta.next_seq))
        finally:
            await world.close()

    asyncio.run(once())


async def goes_on(world: Any) -> None:
    assert (await world.ingress.post("/Echo/say", "on")).status == 200
    assert (await world.admin.get("/health")).status == 200


@FEW
@given(method=METHOD, path=PATH, query=QUERY, headers=HEADERS, body=BODY | JSON)
def test_any_request(
    new_world: Any, method: str, path: str, query: str, headers: dict[str, str], body: bytes | None
) -> None:
    async def check(world: Any) -> None:
        answer = await asyncio.wait_for(world.admin.request(method, path + query, body, headers), 20)
        assert 200 <= answer.status < 500 or answer.status in (501, 503), answer
        if answer.status >= 400 and answer.body and "json" in answer.headers.get("content-type", ""):
            assert answer.json()["message"], answer
        await goes_on(world)

    run(new_world, check)


@FEW
@given(pieces=st.lists(PIECES | st.binary(max_size=12) | st.just(b"GET /services HTTP/1.1\r\n"), max_size=12))
def test_any_bytes(new_world: Any, pieces: list[bytes]) -> None:
    async def check(world: Any) -> None:
        reader, writer = await world.admin.connect()
        try:
            writer.write(b"".join(pieces))
            await writer.drain()
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        assert b"HTTP/1.1 5" not in answer
        await goes_on(world)

    run(new_world, check)
