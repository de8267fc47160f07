"""Input that does not fit its handler: a 400 that names the field, and nothing is stored; whoever sends it, however typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import httpx
import msgspec
import pydantic
import pytest

import perdure

# Whoever passes a value of the wrong type is warned by pydantic as well.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
shop = perdure.Service("Shop")


class Address(pydantic.BaseModel):
    city: str


class Model(pydantic.BaseModel):
    """As pydantic has it."""

    item: str
    count: int
    to: Address | None = None


class StructAddress(msgspec.Struct):
    city: str


class Struct(msgspec.Struct):
    """As msgspec has it."""

    item: str
    count: int
    to: StructAddress | None = None


@dataclass
class PlainAddress:
    city: str


@dataclass
class Plain:
    """A dataclass."""

    item: str
    count: int
    to: PlainAddress | None = None


class TypedAddress(TypedDict):
    city: str


class Typed(TypedDict):
    """A TypedDict."""

    item: str
    count: int
    to: NotRequired[TypedAddress]


@shop.handler()
async def by_pydantic(ctx: perdure.Context, order: Model) -> Model:
    return order


@shop.handler()
async def by_msgspec(ctx: perdure.Context, order: Struct) -> Struct:
    return order


@shop.handler()
async def by_dataclass(ctx: perdure.Context, order: Plain) -> Plain:
    return order


@shop.handler()
async def by_typed_dict(ctx: perdure.Context, order: Typed) -> Typed:
    return order


@shop.handler()
async def by_list(ctx: perdure.Context, orders: list[Model]) -> int:
    return len(orders)


@shop.handler()
async def maybe(ctx: perdure.Context, order: Plain | None) -> str:
    return "nothing" if order is None else order.item


@shop.handler()
async def calls_badly(ctx: perdure.Context, handler: str) -> str:
    await ctx.generic_call("Shop", handler, b'{"item": "hat", "count": "many"}')
    return "accepted"


APP = perdure.app([shop])
KINDS = [by_pydantic, by_msgspec, by_dataclass, by_typed_dict]
WRONG = [
    ({"item": "hat", "count": "many"}, "$.count"),
    ({"item": 7, "count": 1}, "$.item"),
    ({"count": 1}, "item"),
    ({"item": "hat", "count": 1, "to": {"city": 5}}, "$.to.city"),
    ({"item": "hat", "count": 1, "to": {}}, "city"),
    ([1, 2], "object"),
]
GOOD = {"item": "hat", "count": 2, "to": {"city": "Bern"}}


@pytest.fixture
async def node() -> AsyncIterator[perdure.Node]:
    async with perdure.Node(APP) as running:
        yield running


def stored(node: perdure.Node) -> int:
    return node.engine.stats()["invocations"]


def named(error: perdure.Refused, field: str) -> bool:
    assert error.status_code == 400
    return "input validation error: " in error.message and field in error.message


@pytest.mark.parametrize("handler", KINDS, ids=lambda handler: handler.__name__)
async def test_every_client_refuses_each_wrong_field(
    handler: Callable[..., Any], node: perdure.Node, client: perdure.Client
) -> None:
    name = handler.__name__
    for wrong, field in WRONG:
        body = json.dumps(wrong).encode()
        for asked in (
            client.service_call(handler, wrong),
            client.service_send(handler, wrong, idempotency_key="k"),
            client.generic_call("Shop", name, body),
            client.generic_send("Shop", name, body),
        ):
            with pytest.raises(perdure.Refused) as refused:
                await asked
            assert named(refused.value, field), (wrong, refused.value.message)
    with pytest.raises(perdure.Refused, match="the body is empty") as refused:
        await client.service_call(handler, None)
    assert refused.value.status_code == 400
    with pytest.raises(perdure.Refused, match=r"input validation error: .*(malformed|Invalid JSON)"):
        await client.generic_call("Shop", name, b"{item}")
    assert stored(node) == 0
    assert json.loads(await client.generic_call("Shop", name, json.dumps(GOOD).encode())) == GOOD
    assert stored(node) == 1


async def test_the_blocking_clients_too(node: perdure.Node, urls: tuple[str, str]) -> None:
    def check(client: perdure.SyncClient) -> None:
        for handler in KINDS:
            with pytest.raises(perdure.Refused) as refused:
                client.service_call(handler, {"item": "hat", "count": "many"})
            assert named(refused.value, "$.count")

    def over_http() -> None:
        with perdure.connect_sync(urls[0]) as client:
            check(client)

    await asyncio.to_thread(over_http)
    await asyncio.to_thread(check, node.client.sync)
    assert stored(node) == 0


@pytest.mark.parametrize("handler", KINDS, ids=lambda handler: handler.__name__)
@pytest.mark.parametrize("verb", ["", "/send"])
async def test_over_plain_http(
    handler: Callable[..., Any], verb: str, node: perdure.Node, urls: tuple[str, str]
) -> None:
    async with httpx.AsyncClient() as http:
        for wrong, field in WRONG:
            answer = await http.post(f"{urls[0]}/Shop/{handler.__name__}{verb}", json=wrong)
            assert answer.status_code == 400
            body = answer.json()
            assert (body["code"], body["source"]) == (400, "ingress")
            assert field in body["message"] and "\n" not in body["message"]
        assert (await http.post(f"{urls[0]}/Shop/{handler.__name__}{verb}")).status_code == 400
    assert stored(node) == 0


async def test_all_fields_that_pydantic_names_are_named_without_their_values(client: perdure.Client) -> None:
    with pytest.raises(perdure.Refused) as refused:
        await client.generic_call("Shop", "by_list", b'[{"count": "secret"}, {"item": "a", "count": 1}]')
    assert refused.value.message == (
        "input validation error: Field required - at `$[0].item`; "
        "Input should be a valid integer, unable to parse string as an integer - at `$[0].count`"
    )


async def test_an_input_that_may_be_none_may_be_left_out(client: perdure.Client) -> None:
    assert await client.service_call(maybe, None) == "nothing"
    assert await client.service_call(maybe, Plain("hat", 1)) == "hat"


async def test_a_handler_that_calls_another_with_the_wrong_input_gets_a_terminal_error(node: perdure.Node) -> None:
    for handler in KINDS:
        with pytest.raises(perdure.CallFailed, match=r"does not fit the handler: .*\$\.count") as failed:
            await node.client.service_call(calls_badly, handler.__name__)
        assert failed.value.status_code == 400


async def test_the_schemas_stand_in_the_description_of_the_service(urls: tuple[str, str]) -> None:
    async with httpx.AsyncClient() as http:
        described = (await http.get(f"{urls[1]}/services/Shop")).json()
    handlers = {handler["name"]: handler for handler in described["handlers"]}
    for handler in KINDS:
        for side in ("input_json_schema", "output_json_schema"):
            schema = handlers[handler.__name__][side]
            named = schema.get("$ref", "").removeprefix("#/$defs/")
            properties = (schema["$defs"][named] if named else schema)["properties"]
            assert properties["count"]["type"] == "integer", (handler.__name__, side)
            assert set((schema["$defs"][named] if named else schema)["required"]) == {"item", "count"}
    assert handlers["by_list"]["input_json_schema"]["type"] == "array"
    assert handlers["by_list"]["output_json_schema"] == {"type": "integer"}
