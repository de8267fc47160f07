"""The description of the admin API: whole, consistent, and of what is really served."""

from __future__ import annotations

from typing import Any

import pytest


def references(part: object) -> set[str]:
    """Every `$ref` in it."""
    if isinstance(part, dict):
        here = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return here.union(*(references(value) for value in part.values()))
    if isinstance(part, list):
        return set[str]().union(*map(references, part))
    return set()


def operations(described: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, each) for path, item in described["paths"].items() for method, each in item.items()]


async def test_every_reference_leads_somewhere_and_ids_are_unique(server: Any) -> None:
    described = (await server.admin.get("/v4/openapi")).json()
    assert described["openapi"] == "3.1.0"
    assert {name.rpartition("/")[2] for name in references(described)} == set(described["components"]["schemas"])
    ids = [each["operationId"] for _, _, each in operations(described)]
    assert len(ids) == len(set(ids)) > 40
    for path, _, each in operations(described):
        named = {parameter["name"] for parameter in each.get("parameters", ()) if parameter["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def test_what_is_described_is_served_and_says_nothing_else(server: Any) -> None:
    described = (await server.admin.get("/openapi")).json()
    for path, method, each in operations(described):
        parts = [f"no-{part[1:-1]}" if part.startswith("{") else part for part in path.split("/")]
        body: object = {} if "requestBody" in each else None
        answer = await server.admin.ask(method.upper(), "/".join(parts), body)
        assert str(answer.status) in each["responses"], (method, path, answer.status, answer.body)
        assert not (answer.status in (404, 405) and answer.body == b""), (method, path)


@pytest.mark.slow
async def test_other_tools_can_read_it(server: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    schema = schemathesis.openapi.from_dict((await server.admin.get("/openapi")).json())
    schema.validate()
    assert len(list(schema.get_all_operations())) > 40


async def test_the_openapi_of_a_service_can_be_read_too(start_server: Any) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    from tests.http.conftest import APP

    server = await start_server(app=APP)
    for name in ("Echo", "Counter", "Signup"):
        described = (await server.admin.get(f"/services/{name}/openapi")).json()
        schemathesis.openapi.from_dict(described).validate()
        defined = {f"#/components/{kind}/{name}" for kind, items in described["components"].items() for name in items}
        assert references(described) <= defined
