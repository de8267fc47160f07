"""The ticket shop: buying, refusal, declining, expiry; and the demo's eye for what should not happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

import perdure
from examples.tickets import app as shop
from examples.tickets import cart, outside, settings, ticket
from examples.tickets.checkout import Receipt
from perdure.testing import InMemoryNode, crash_everywhere, node
from perdure.testing.steps import StepLine, StepTrace

TURNS = 20_000


class Customer:
    """Somebody with a cart, and an e-mail address."""

    def __init__(self, node: perdure.Node, world: StepTrace, name: str = "ann") -> None:
        self.node, self.world, self.name = node, world, name

    async def add(self, seat: str) -> bool:
        return await self.node.client.object_call(cart.add_ticket, self.name, seat)

    async def check_out(self, card: str = "good") -> Receipt:
        return await self.node.client.object_call(cart.check_out, self.name, card)

    async def cart(self) -> list[str]:
        return await self.node.client.object_call(cart.content, self.name)

    async def answer_mail(self, word: str) -> None:
        mail = await self.happened("mail")
        await self.node.client.resolve_awakeable(mail.words[2], word)

    async def happened(self, what: str) -> StepLine:
        for _ in range(TURNS):
            for line in self.world.lines():
                if line.words[0] == what:
                    return line
            await asyncio.sleep(0)
        raise AssertionError(f"no {what} within {TURNS} turns")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepTrace:
    trace = StepTrace(tmp_path / "world.txt")
    monkeypatch.setattr(outside, "_WORLD", trace)
    return trace


@pytest.fixture
async def ann(world: StepTrace) -> AsyncIterator[Customer]:
    async with perdure.Node(shop.app) as node:
        yield Customer(node, world)


async def status(customer: Customer, seat: str) -> str:
    return await customer.node.client.object_call(ticket.status, seat)


async def until(customer: Customer, seat: str, wanted: str) -> None:
    """Sends between objects arrive soon after the answer to the customer."""
    for _ in range(TURNS):
        if await status(customer, seat) == wanted:
            return
    raise AssertionError(f"{seat} is {await status(customer, seat)}, not {wanted}")


async def test_a_confirmed_purchase_sells_the_tickets_and_empties_the_cart(ann: Customer) -> None:
    assert await ann.add("1A") and await ann.add("1B")
    assert await status(ann, "1A") == "reserved"
    buying = asyncio.ensure_future(ann.check_out())
    await ann.answer_mail("yes")
    receipt = await buying
    assert receipt.amount == 80
    await until(ann, "1A", "sold")
    await until(ann, "1B", "sold")
    assert await ann.cart() == []
    assert [line.words[0] for line in ann.world.lines()] == ["charge", "mail"]
    assert ann.world.lines()[0].words[1] == receipt.token


async def test_a_ticket_goes_to_one_customer(ann: Customer) -> None:
    bob = Customer(ann.node, ann.world, "bob")
    assert sorted(await asyncio.gather(ann.add("1A"), bob.add("1A"))) == [False, True]


async def test_a_refused_card_gives_the_tickets_back_and_sends_no_mail(ann: Customer) -> None:
    await ann.add("1A")
    with pytest.raises(perdure.TerminalError) as caught:
        await ann.check_out("refused-card")
    assert caught.value.status_code == 402
    await until(ann, "1A", "available")
    assert await ann.cart() == []
    assert [line.words[0] for line in ann.world.lines()] == ["charge"]


async def test_a_customer_who_declines_gets_the_money_back(ann: Customer) -> None:
    await ann.add("1A")
    buying = asyncio.ensure_future(ann.check_out())
    await ann.answer_mail("no")
    with pytest.raises(perdure.TerminalError) as caught:
        await buying
    assert caught.value.status_code == 409
    await until(ann, "1A", "available")
    charge, _, refund = ann.world.lines()
    assert refund.words == ("refund", charge.words[1])


async def test_a_customer_who_says_nothing_gets_the_money_back(ann: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CONFIRMATION", timedelta(milliseconds=30))
    await ann.add("1A")
    with pytest.raises(perdure.TerminalError) as caught:
        await ann.check_out()
    assert caught.value.status_code == 408
    await until(ann, "1A", "available")
    assert [line.words[0] for line in ann.world.lines()] == ["charge", "mail", "refund"]


async def test_a_reservation_of_a_quarter_of_an_hour_and_a_customer_who_sleeps_over_it(world: StepTrace) -> None:
    async with node(shop.app) as n:
        ann = Customer(n, world)
        await ann.add("1A")
        await ann.add("1B")
        await n.clock.advance(settings.RESERVATION - timedelta(seconds=1))
        assert await ann.cart() == ["1A", "1B"]
        await n.clock.advance(seconds=2)
        assert await ann.cart() == [] and await status(ann, "1A") == "available"

        await ann.add("1A")
        buying = await n.client.object_send(cart.check_out, "ann", "good")
        await n.clock.advance(settings.CONFIRMATION / 2)
        assert not (await n.client.output(buying)).ready
        await n.clock.advance(settings.CONFIRMATION / 2)
        with pytest.raises(perdure.TerminalError, match="not confirmed in time"):
            await n.client.attach(buying)
        await n.settle()
        assert await status(ann, "1A") == "available"
    assert [line.words[0] for line in world.lines()] == ["charge", "mail", "refund"]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["yes", "no"])
async def test_a_purchase_bears_a_crash_everywhere(world: StepTrace, word: str) -> None:
    """What the outside has seen, as a bank and a mail server see it that refuse what they know already."""

    async def purchase(node: InMemoryNode) -> list[object]:
        world.path.write_text("")
        ann = Customer(node, world)
        await ann.add("1A")
        await ann.add("1B")
        buying = await node.client.object_send(cart.check_out, "ann", "good")
        await node.settle()
        await ann.answer_mail(word)
        try:
            result: object = await node.client.attach(buying)
        except perdure.TerminalError as error:
            result = error.message
        await node.settle()
        return [result, await status(ann, "1A"), await status(ann, "1B"), await ann.cart()]

    def outside_has_seen() -> list[tuple[str, ...]]:
        return sorted({line.words for line in world.lines()})

    report = await crash_everywhere(shop.app, purchase, effects=outside_has_seen)
    assert report.crashes > 40


async def test_an_empty_cart_cannot_be_checked_out(ann: Customer) -> None:
    with pytest.raises(perdure.TerminalError, match="empty"):
        await ann.check_out()
    assert ann.world.lines() == []


async def test_a_ticket_left_in_the_cart_expires(ann: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RESERVATION", timedelta(milliseconds=30))
    await ann.add("1A")
    await until(ann, "1A", "available")
    assert await ann.cart() == []


async def test_a_sold_ticket_does_not_expire(ann: Customer) -> None:
    await ann.add("1A")
    buying = asyncio.ensure_future(ann.check_out())
    await ann.answer_mail("yes")
    await buying
    await ann.node.client.object_call(cart.expire_ticket, ann.name, "1A")
    await until(ann, "1A", "sold")
