"""crash_everywhere: programs that bear every crash pass; each kind of mistake is found, with the line that makes it."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import perdure
from perdure.testing import CrashesFound, InMemoryNode, crash_everywhere


def line_of(function: Callable[..., Any], text: str) -> str:
    """`file:line` of the line of a function that holds this text."""
    lines, first = inspect.getsourcelines(function)
    [found] = [number for number, line in enumerate(lines, first) if text in line]
    return f"{inspect.getsourcefile(function)}:{found}"


class Bank:
    """Refuses the second charge with a token."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}

    def charge(self, token: str, amount: int) -> int:
        self.charges[token] = amount
        return amount


@pytest.mark.slow
async def test_a_program_that_bears_every_crash() -> None:
    bank = Bank()
    shop, stock = perdure.Service("Shop"), perdure.VirtualObject("Stock")

    @stock.handler()
    async def take(ctx: perdure.ObjectContext, count: int) -> int:
        left = await ctx.get("left", type_hint=int)
        left = (10 if left is None else left) - count
        ctx.set("left", left)
        return left

    @shop.handler()
    async def buy(ctx: perdure.Context, amount: int) -> dict[str, Any]:
        token = str(ctx.uuid())
        charged = await ctx.run_typed("charge", bank.charge, token=token, amount=amount)
        await ctx.sleep(timedelta(days=1))
        left = await ctx.object_call(take, "book", 1)
        async with asyncio.timeout(60):
            await asyncio.sleep(1)
        ctx.object_send(take, "pen", 2)
        return {"charged": charged, "left": left, "token": token}

    async def scenario(node: InMemoryNode) -> list[Any]:
        return [await node.client.service_call(buy, amount) for amount in (5, 7)]

    report = await crash_everywhere([shop, stock], scenario, effects=bank)
    assert report.crashes > 20
    report = await crash_everywhere([shop, stock], buy, 5, effects=bank)
    assert report.crashes > 10
    assert bank.charges == {}, "everything was put back"


async def test_an_effect_outside_a_step() -> None:
    sent: list[str] = []
    mails = perdure.Service("Mails")

    @mails.handler()
    async def welcome(ctx: perdure.Context, name: str) -> str:
        sent.append(name)  # not in a step
        return await ctx.run_typed("look", lambda: name.upper())

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([mails], welcome, "ann")
    first = caught.value.findings[0]
    assert (first.kind, first.line) == ("body", line_of(welcome, "sent.append"))
    assert caught.value.findings[1].line == first.line and "`sent` is ['ann', 'ann']" in caught.value.findings[1].what
    assert "`sent`" in first.what and line_of(welcome, "sent.append") in str(caught.value)
    assert sent == []


calls = 0


async def test_a_global_changed_in_the_body() -> None:
    counting = perdure.Service("Counting")

    @counting.handler()
    async def count(ctx: perdure.Context) -> int:
        global calls
        calls += 1  # in memory, and again with each replay
        await ctx.sleep(1)
        return calls

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([counting], count)
    by_kind = {finding.kind: finding for finding in caught.value.findings}
    assert by_kind["body"].line == line_of(count, "calls += 1")
    assert by_kind["result"].line == line_of(count, "calls += 1"), "and what follows from it"
    assert calls == 0


async def test_memory_that_a_step_filled_and_the_body_reads() -> None:
    """Works as long as the process lives: the step does not run again to fill it after a crash."""
    world: list[str] = []
    cache: dict[str, str] = {}
    lookups = perdure.Service("Lookups")

    def look_up(name: str) -> None:
        cache[name] = name.upper()

    @lookups.handler()
    async def shout(ctx: perdure.Context, name: str) -> str:
        await ctx.run_typed("look_up", look_up, name=name)
        await ctx.sleep(1)
        return cache.get(name, "nobody")

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([lookups], shout, "ann", effects=world)
    [finding] = caught.value.findings
    assert finding.kind == "result", "and memory itself is not compared"
    assert "'nobody'" in finding.what and "'ANN'" in finding.what and "just after" in finding.crash


@pytest.mark.parametrize("how", ["object", "function", "names"])
async def test_effects_outlive_the_process_however_they_are_named(how: str) -> None:
    charges: dict[str, int] = {}
    ledger = charges  # the same under another name
    seen: set[str] = set()
    shop = perdure.Service("Shop")

    def charge(token: str) -> int:
        seen.add(token)  # memory, which is lost
        return charges.setdefault(token, 5)

    @shop.handler()
    async def buy(ctx: perdure.Context) -> int:
        paid = await ctx.run_typed("charge", charge, token=str(ctx.uuid()))
        await ctx.sleep(1)
        return paid

    effects = {"object": charges, "function": lambda: sorted(ledger.values()), "names": {"charges": charges}}
    assert (await crash_everywhere([shop], buy, effects=effects[how])).crashes > 10
    assert charges == {} and seen == set()


async def test_a_mock_that_is_called_in_the_body() -> None:
    bank = Mock()
    shop = perdure.Service("Shop")

    @shop.handler()
    async def buy(ctx: perdure.Context) -> None:
        bank.charge(5)
        await ctx.sleep(1)

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([shop], buy)
    assert (caught.value.findings[0].kind, caught.value.findings[0].line) == ("body", line_of(buy, "bank.charge"))


async def test_a_file_that_is_written_in_the_body(tmp_path: Path) -> None:
    shop = perdure.Service("Shop")

    @shop.handler()
    async def buy(ctx: perdure.Context) -> None:
        with (tmp_path / "orders").open("a") as orders:
            orders.write("one\n")
        await ctx.sleep(1)

    async def scenario(node: InMemoryNode) -> None:
        (tmp_path / "orders").write_text("")
        await node.client.service_call(buy)

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([shop], scenario, effects=lambda: (tmp_path / "orders").read_text())
    kinds = {finding.kind: finding for finding in caught.value.findings}
    assert kinds["native"].line == line_of(buy, "open(") and "step" in kinds["native"].what
    assert "one\\none" in kinds["effects:effects"].what


async def test_a_workflow_and_steps_that_are_replaced() -> None:
    signup = perdure.Workflow("Signup")

    def mail(address: str) -> None:
        raise AssertionError("a real mail")

    @signup.main()
    async def run(ctx: perdure.WorkflowContext, address: str) -> str:
        await ctx.run_typed("mail", mail, address=address)
        return await ctx.promise("clicked", type_hint=str).value()

    @signup.handler()
    async def click(ctx: perdure.WorkflowSharedContext, word: str) -> None:
        await ctx.promise("clicked", type_hint=str).resolve(word)

    async def scenario(node: InMemoryNode) -> str:
        node.mock_step("mail", returning=None)
        await node.client.workflow_submit(run, "ann", "ann@example.com")
        await node.clock.advance(days=1)
        await node.client.workflow_call(click, "ann", "yes")
        return await node.client.workflow_attach(run, "ann")

    assert (await crash_everywhere([signup], scenario)).crashes > 10


@pytest.mark.slow
@pytest.mark.parametrize("what", ["random", "time", "uuid"])
async def test_clocks_and_randomness_in_the_body(what: str) -> None:
    native = perdure.Service("Native")

    def draw() -> float:
        return 1.0

    @native.handler()
    async def unsteady(ctx: perdure.Context) -> str:
        if what == "random":
            chosen = str(random.random())
        elif what == "time":
            chosen = str(time.time())
        else:
            chosen = str(uuid.uuid4())
        await ctx.run_typed(f"draw {chosen}", draw)
        await ctx.sleep(1)
        return "done"

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([native], unsteady)
    kinds = {finding.kind: finding for finding in caught.value.findings}
    assert kinds["native"].line == line_of(
        unsteady, {"random": "random.random", "time": "time.time", "uuid": "uuid4"}[what]
    )
    assert "journal mismatch" in kinds["stuck"].what and kinds["stuck"].line == line_of(unsteady, "run_typed")


async def test_native_clocks_may_be_allowed() -> None:
    native = perdure.Service("Native")

    @native.handler()
    async def measured(ctx: perdure.Context) -> str:
        time.perf_counter()
        return await ctx.run_typed("work", lambda: "done")

    with pytest.raises(CrashesFound):
        await crash_everywhere([native], measured)
    assert (await crash_everywhere([native], measured, allow_native=True)).crashes > 0


@pytest.mark.slow
async def test_a_step_with_an_effect_that_does_not_bear_a_second_time() -> None:
    charges: list[int] = []
    shop = perdure.Service("Shop")

    def charge(amount: int) -> int:
        charges.append(amount)
        return amount

    @shop.handler()
    async def buy(ctx: perdure.Context, amount: int) -> int:
        return await ctx.run_typed("charge", charge, amount=amount)

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([shop], buy, 5)
    [finding] = caught.value.findings
    assert finding.kind == "effects:charges" and finding.line == line_of(charge, "append")
    assert "[5, 5]" in finding.what and "'charge'" in finding.what and "just before" in finding.crash
    assert (await crash_everywhere([shop], buy, 5, may_repeat=["charge"])).crashes > 0
    with pytest.raises(CrashesFound):
        await crash_everywhere([shop], buy, 5, may_repeat=["another"])


@pytest.mark.parametrize("plain", [True, False])
async def test_a_step_with_two_effects(plain: bool) -> None:
    """Each bears a second time by itself; together they do not, because the second looks at what the first has done."""
    orders: dict[str, str] = {}
    mails: dict[str, str] = {}
    shop = perdure.Service("Shop")

    def place(token: str) -> str:
        known = token in orders
        orders[token] = "placed"
        if not known:
            mails[token] = "mailed"
        return "placed"

    async def place_async(token: str) -> str:
        known = token in orders
        orders[token] = "placed"
        await asyncio.sleep(1)
        if not known:
            mails[token] = "mailed"
        return "placed"

    step = place if plain else place_async

    @shop.handler()
    async def order(ctx: perdure.Context) -> Any:
        return await ctx.run_typed("place", step, token=str(ctx.uuid()))  # type: ignore[call-overload]

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([shop], order)
    [finding] = caught.value.findings
    if plain:  # the other one waits between its effects, and so an append comes in between
        assert "inside the step 'place'" in finding.crash
        assert line_of(step, 'orders[token] = "placed"') in finding.crash
    assert "`mails`" in finding.what and finding.kind == "effects:mails"
    assert "more than one effect" in finding.what


@pytest.mark.slow
async def test_a_handler_that_does_not_replay() -> None:
    words = perdure.Service("Words")

    @words.handler()
    async def unordered(ctx: perdure.Context) -> list[str]:
        found: list[str] = []
        for name in {object(): "one"}, {object(): "two"}:
            found.append(await ctx.run_typed(f"step {id(next(iter(name)))}", lambda: "x"))
        return found

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([words], unordered)
    [finding] = [finding for finding in caught.value.findings if finding.kind == "stuck"]
    assert "journal mismatch" in finding.what and finding.line == line_of(unordered, "run_typed")


@pytest.mark.slow
async def test_the_smallest_scenario() -> None:
    sent: list[str] = []
    mixed = perdure.Service("Mixed")

    @mixed.handler()
    async def good(ctx: perdure.Context, number: int) -> int:
        return await ctx.run_typed("good", lambda: number)

    @mixed.handler()
    async def bad(ctx: perdure.Context) -> None:
        await ctx.run_typed("bad", lambda: sent.append("x"))

    async def first(node: InMemoryNode) -> int:
        return await node.client.service_call(good, 1)

    async def second(node: InMemoryNode) -> None:
        await node.client.service_call(bad)

    async def third(node: InMemoryNode) -> int:
        return await node.client.service_call(good, 3)

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([mixed], [first, second, third])
    [finding] = caught.value.findings
    assert [name.rpartition(".")[2] for name in finding.actions] == ["second"]


async def test_what_differs_without_a_crash_is_not_held_against_the_program() -> None:
    drawn = perdure.Service("Drawn")

    @drawn.handler()
    async def token(ctx: perdure.Context) -> dict[str, Any]:
        return {"token": await ctx.run_typed("draw", lambda: uuid.uuid4().hex), "kept": 1}

    assert (await crash_everywhere([drawn], token)).crashes > 0


async def test_the_scenarios_own_mistakes_are_its_own() -> None:
    empty = perdure.Service("Empty")

    async def scenario(node: InMemoryNode) -> None:
        raise LookupError("nothing to do with crashes")

    with pytest.raises(LookupError):
        await crash_everywhere([empty], scenario)


@pytest.mark.slow
async def test_requests_of_the_scenario_are_made_once() -> None:
    counter = perdure.VirtualObject("Counter")

    @counter.handler()
    async def add(ctx: perdure.ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", type_hint=int) or 0) + amount
        ctx.set("total", total)
        return total

    @counter.handler()
    async def wait(ctx: perdure.ObjectContext) -> str:
        name, answer = ctx.awakeable(type_hint=str)
        ctx.set("waits", name)
        return await answer

    async def scenario(node: InMemoryNode) -> Any:
        await asyncio.gather(*[node.client.object_call(add, "k", amount) for amount in (1, 2, 3)])
        await node.client.object_send(add, "k", 10)
        sent = await node.client.object_send(wait, "w")
        await node.settle()
        state = await node.client.state("Counter", "w")
        await node.client.resolve_awakeable(state["waits"].decode().strip('"'), "yes")
        return await node.client.attach(sent), await node.client.object_call(add, "k", 0)

    report = await crash_everywhere([counter], scenario)
    assert report.crashes > 10


async def test_a_scenario_that_waits_for_ever_is_told_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.testing.crashes.run._PATIENCE_S", 0.1)
    patient = perdure.Service("Patient")

    @patient.handler()
    async def wait(ctx: perdure.Context) -> None:
        await ctx.awakeable()[1]

    with pytest.raises(CrashesFound) as caught:
        await crash_everywhere([patient], wait)
    [finding] = caught.value.findings
    assert "Patient/wait does not end" in finding.what and "nothing wakes it" in finding.what
