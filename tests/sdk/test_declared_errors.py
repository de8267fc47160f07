"""`errors=[...]`: what a handler declares to end with is raised as the same class, with its fields, where it was called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

import perdure
from perdure.sdk.errors import RegistrationError


class OutOfStock(perdure.TerminalError):
    left: int
    since: datetime

    def __init__(self, item: str, left: int, since: datetime) -> None:
        super().__init__(f"no more of {item}", status_code=409)
        self.left = left
        self.since = since


@dataclass
class Declined(Exception):
    """No TerminalError: being declared makes it terminal."""

    reason: str
    status_code: int = 402

    def __str__(self) -> str:
        return f"declined: {self.reason}"


SINCE = datetime(2026, 1, 2, tzinfo=UTC)
shop = perdure.Service(
    "Shop", invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=1, on_max_attempts="kill")
)


@shop.handler(errors=[OutOfStock, Declined])
async def buy(ctx: perdure.Context, item: str) -> str:
    if item == "coat":
        raise Declined("card expired")
    if item == "hat":
        try:
            raise Declined("card expired")
        except Declined as declined:
            raise LookupError("wrapped") from declined
    raise OutOfStock(item, 3, SINCE)


@shop.handler(errors=[Declined])
async def in_a_step(ctx: perdure.Context) -> str:
    def charge() -> str:
        raise Declined("no funds")

    try:
        return await ctx.run_typed("charge", charge)
    except Declined as declined:
        return declined.reason


@shop.handler()
async def catches(ctx: perdure.Context, item: str) -> str:
    await ctx.sleep(timedelta(0))
    try:
        return await ctx.service_call(buy, item)
    except OutOfStock as gone:
        return f"{gone.left} left since {gone.since.isoformat()}: {gone.message} ({gone.status_code})"
    except Declined as declined:
        return f"{declined.reason}, {declined}"


@shop.handler()
async def lets_pass(ctx: perdure.Context, item: str) -> str:
    return await ctx.service_call(buy, item)


@shop.handler(errors=[OutOfStock, Declined])
async def passes_on(ctx: perdure.Context, item: str) -> str:
    return await ctx.service_call(buy, item)


@shop.handler()
async def by_name_and_by_id(ctx: perdure.Context, item: str) -> list[int]:
    left = []
    try:
        await ctx.generic_call("Shop", "buy", f'"{item}"'.encode(), errors=[OutOfStock])
    except OutOfStock as gone:
        left.append(gone.left)
    sent = ctx.service_send(buy, item)
    try:
        await ctx.attach_invocation(await sent.invocation_id(), type_hint=str, errors=[OutOfStock])
    except OutOfStock as gone:
        left.append(gone.left)
    return left


@shop.handler()
async def undeclared(ctx: perdure.Context) -> str:
    raise Declined("never said so")


async def test_a_handler_catches_the_class_that_was_raised_with_typed_fields() -> None:
    async with perdure.Node([shop]) as node:
        assert await node.client.service_call(catches, "sock") == (
            "3 left since 2026-01-02T00:00:00+00:00: no more of sock (409)"
        )
        assert await node.client.service_call(catches, "coat") == "card expired, declined: card expired"
        assert await node.client.service_call(catches, "hat") == "card expired, declined: card expired"
        assert await node.client.service_call(in_a_step) == "no funds"


async def test_a_client_gets_the_class_and_the_status_is_the_class_own() -> None:
    async with perdure.Node([shop]) as node:
        with pytest.raises(OutOfStock) as gone:
            await node.client.service_call(buy, "sock")
        assert (gone.value.left, gone.value.since, gone.value.status_code) == (3, SINCE, 409)
        with pytest.raises(Declined) as declined:
            await node.client.service_call(buy, "coat")
        assert (declined.value.reason, declined.value.status_code) == ("card expired", 402)
        with pytest.raises(Declined):
            await node.client.service_call(passes_on, "coat")


async def test_who_has_only_a_name_or_an_id_names_the_classes() -> None:
    async with perdure.Node([shop], settings=perdure.EngineSettings(always_replay=True)) as node:
        assert await node.client.service_call(by_name_and_by_id, "sock") == [3, 3]


async def test_who_does_not_know_the_class_sees_a_terminal_error() -> None:
    async with perdure.Node([shop]) as node:
        with pytest.raises(perdure.TerminalError) as failed:
            await node.client.service_call(lets_pass, "coat")
        assert type(failed.value) is not Declined
        assert (failed.value.message, failed.value.status_code) == ("declined: card expired", 402)


async def test_an_error_that_is_not_declared_is_a_defect() -> None:
    async with perdure.Node([shop]) as node:
        with pytest.raises(perdure.TerminalError) as failed:
            await node.client.service_call(undeclared)
        assert failed.value.status_code == 500


def test_only_classes_of_exceptions_with_different_names_can_be_declared() -> None:
    other = type("Declined", (Exception,), {})
    for wrong in ([Declined("x")], [Exception], [Declined, other], [int]):
        with pytest.raises(RegistrationError):
            perdure.Service("S").handler(errors=wrong)(lets_pass)  # type: ignore[arg-type]
