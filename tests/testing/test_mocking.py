"""Steps replaced by name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import perdure
from perdure.testing import StepCall, node


@dataclass
class Receipt:
    amount: int


shop = perdure.Service("Shop")


def charge(card: str, amount: int) -> Receipt:
    raise AssertionError("the real bank was called")


async def mail(address: str) -> None:
    raise AssertionError("a real mail was sent")


@shop.handler()
async def buy(ctx: perdure.Context, card: str) -> int:
    receipt = await ctx.run_typed("charge", charge, card=card, amount=40)
    await ctx.run_typed("mail", mail, perdure.RunOptions(), "ann@example.com")
    return receipt.amount


@shop.handler()
async def twice(ctx: perdure.Context) -> list[int]:
    both = await perdure.gather(
        ctx.run_typed("charge", charge, card="a", amount=1), ctx.run_typed("charge", charge, card="b", amount=2)
    )
    return [(await one).amount for one in both]


@shop.handler()
async def in_a_process(ctx: perdure.Context) -> int:
    receipt = await ctx.run_typed("charge", charge, perdure.RunOptions(pool="process"), card="c", amount=3)
    return receipt.amount


@pytest.mark.parametrize("always_replay", [False, True])
async def test_returning(always_replay: bool) -> None:
    async with node([shop], always_replay=always_replay) as n:
        charged = n.mock_step("charge", returning=Receipt(7))
        mailed = n.mock_step("mail", returning=None)
        assert await n.client.service_call(buy, "42") == 7
    assert [call.kwargs for call in charged.calls] == [{"card": "42", "amount": 40}]
    assert [call.args for call in mailed.calls] == [("ann@example.com",)]
    assert mailed.called and mailed.calls[0].mocked and mailed.calls[0].target == "Shop/buy"
    assert "test_mocking.py:" in mailed.calls[0].line


async def test_raising_terminally() -> None:
    async with node([shop]) as n:
        n.mock_step("charge", raising=perdure.TerminalError("no money", status_code=402))
        mailed = n.mock_step("mail", returning=None)
        with pytest.raises(perdure.TerminalError, match="no money") as caught:
            await n.client.service_call(buy, "42")
    assert caught.value.status_code == 402
    assert not mailed.called


async def test_a_row_of_errors_and_then_the_older_stand_in() -> None:
    async with node([shop]) as n:
        n.mock_step("mail", returning=None)
        works = n.mock_step("charge", returning=Receipt(1))
        fails = n.mock_step("charge", raising=[TimeoutError(), ConnectionError])
        assert await n.client.service_call(buy, "42") == 1
    assert (len(fails.calls), len(works.calls)) == (2, 1)


@pytest.mark.parametrize("plain", [True, False])
async def test_calling(plain: bool) -> None:
    def fake(card: str, amount: int) -> Receipt:
        return Receipt(amount * 2)

    async def fake_async(card: str, amount: int) -> Receipt:
        return Receipt(amount * 2)

    async with node([shop]) as n:
        n.mock_step("mail", returning=None)
        n.mock_step("charge", calling=fake if plain else fake_async)
        assert await n.client.service_call(buy, "42") == 80


async def test_only_some_of_a_name() -> None:
    def of_b(call: StepCall) -> bool:
        return call.kwargs["card"] == "b"

    async with node([shop]) as n:
        others = n.mock_step("charge", returning=Receipt(0))
        mine = n.mock_step("charge", returning=Receipt(5), where=of_b)
        assert await n.client.service_call(twice) == [0, 5]
    assert (len(others.calls), len(mine.calls)) == (1, 1)


async def test_a_step_for_a_worker_process() -> None:
    async with node([shop]) as n:
        n.mock_step("charge", returning=Receipt(9))
        assert await n.client.service_call(in_a_process) == 9


async def test_it_ends_with_its_block() -> None:
    async with node([shop]) as n:
        n.mock_step("mail", returning=None)
        n.mock_step("charge", returning=Receipt(1))
        with n.mock_step("charge", returning=Receipt(2)):
            assert await n.client.service_call(buy, "42") == 2
        assert await n.client.service_call(buy, "42") == 1


async def test_what_does_not_fit_the_step_is_refused_as_its_result_would_be() -> None:
    strict = perdure.Service("Strict")

    @strict.handler()
    async def pay(ctx: perdure.Context) -> int:
        return (await ctx.run_typed("charge", charge, card="x", amount=1)).amount

    async with node([strict]) as n:
        n.mock_step("charge", returning=object())
        await n.client.service_send(pay)
        await n.settle()
        [row] = (await n.client.list_invocations()).invocations
        assert row.status == "paused" and row.last_error is not None and "PD0413" in row.last_error


async def test_exactly_one_way() -> None:
    async with node([shop]) as n:
        with pytest.raises(TypeError, match="exactly one"):
            n.mock_step("charge", returning=1, calling=charge)
        with pytest.raises(TypeError, match="exactly one"):
            n.mock_step("charge")
