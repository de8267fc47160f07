"""Workflows and their promises through the client: submitted again, told twice, looked at, purged and run anew.

What must hold: a key has one run; a promise has one value, the first; the run returns it, to everybody who attaches, for its
retention; a purged run takes its promises along.
"""

from __future__ import annotations

import asyncio
from random import Random

from perdure.client.client import Client
from perdure.client.errors import Refused
from perdure.model.ids import parse_invocation_id
from perdure.node.engine import Engine
from perdure.sdk.context import WorkflowContext, WorkflowSharedContext
from perdure.sdk.errors import TerminalError
from perdure.sdk.workflow import Workflow
from perdure.testing.sim.errands.errand import Errand, client_of, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

KEY = "order"
_LIFE = (
    "submit",
    "look",
    "listen",
    "tell",
    "again",
    "look",
    "tell",
    "attach",
    "heard",
    "output",
    "hope",
    "purge",
    "gone",
)
"""Of one run."""


class Workflows(Errand):
    """Goes through the life of a run, once or twice. What each answer may be follows from what was asked before."""

    check = "workflow"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._engine: Engine
        self._round = 0
        self._rounds = random.randint(1, 2)
        self._plan: list[str] = []
        self._tried = False
        """The step of the plan that is next was begun by a process that is gone."""
        self._run = self._listener = self._hoper = ""
        self._settled = False
        """The promise was told its value."""
        self.service = self._make_service()

    def _make_service(self) -> Workflow:
        world = self.world
        order = Workflow("Order")

        @order.main()
        async def main(ctx: WorkflowContext, number: int) -> list[int]:
            ctx.set("number", number)
            told = await ctx.promise("told", type_hint=int).value()
            return [await step(world, ctx, f"done {ctx.uuid()}", str(number), 1, number), told]

        @order.handler()
        async def tell(ctx: WorkflowSharedContext, told: int) -> bool:
            try:
                await ctx.promise("told", type_hint=int).resolve(told)
            except TerminalError as error:
                if error.status_code != 409:
                    raise
                return False
            return True

        @order.handler()
        async def listen(ctx: WorkflowSharedContext) -> int:
            return await ctx.promise("told", type_hint=int).value()

        @order.handler()
        async def hope(ctx: WorkflowSharedContext) -> int:
            return await ctx.promise("other", type_hint=int).value()

        @order.handler()
        async def look(ctx: WorkflowSharedContext) -> list[int | None]:
            return [await ctx.get("number", type_hint=int), await ctx.promise("told", type_hint=int).peek()]

        self._main, self._tell, self._listen, self._look, self._hope = main, tell, listen, look, hope
        return order

    async def turn(self, engine: Engine) -> bool:
        if not self._plan:
            self._plan = list(_LIFE)
            self._settled = False
            self._round += 1
        what = self._plan[0]
        self.note(f"round {self._round} {what}")
        self._engine = engine
        before, self._tried = self._tried, True
        await getattr(self, f"_do_{what}")(client_of(engine), before)
        self._tried = False
        self._plan.pop(0)
        return bool(self._plan) or self._round < self._rounds

    @property
    def _value(self) -> int:
        """What the promise is given first."""
        return 100 * self._round

    async def _do_submit(self, client: Client, tried: bool) -> None:
        sent = await client.workflow_submit(self._main, KEY, self._round)
        self._run = sent.invocation_id
        if sent.duplicate and not tried:
            self.broken("the first run of a key was called a duplicate")

    async def _do_again(self, client: Client, tried: bool) -> None:
        if not (await client.workflow_submit(self._main, KEY, self._round + 10)).duplicate:
            self.broken("a second run was accepted for the same key")
        outcome = await self._engine.call(self.request("main", self._round + 10, key=KEY))
        if value(outcome) != ["failed", 409]:
            self.broken(f"who calls a run that there is hears {value(outcome)}")

    async def _do_listen(self, client: Client, tried: bool) -> None:
        """From here on one waits for the promise beside the run."""
        sent = await client.object_send(self._listen, KEY, idempotency_key=f"listen {self._round}")
        self._listener = sent.invocation_id

    async def _do_heard(self, client: Client, tried: bool) -> None:
        self._see(await client.attach(self._listener, int))

    async def _do_hope(self, client: Client, tried: bool) -> None:
        """One waits for a promise that nobody keeps."""
        sent = await client.object_send(self._hope, KEY, idempotency_key=f"hope {self._round}")
        self._hoper = sent.invocation_id
        while True:  # until it waits: behind the purge it would wait for the next run
            row = await self.find(self._engine, parse_invocation_id(self._hoper))
            if row is None or row.journal_length > 1:
                return
            await asyncio.sleep(0.1)

    async def _do_gone(self, client: Client, tried: bool) -> None:
        """With the run its state is gone and its promises, and who waits for one is told."""
        try:
            self.broken(f"who waits for a promise of a run that is gone hears {await client.attach(self._hoper, int)}")
        except TerminalError as error:
            if error.status_code not in (409, 410):
                raise
        looked = await client.object_call(self._look, KEY)
        if looked != [None, None]:
            self.broken(f"the run of round {self._round} is purged, and left {looked}")

    async def _do_tell(self, client: Client, tried: bool) -> None:
        """Repeated with its key, so that it is no later than the purge."""
        told = self._value + self._settled
        accepted = await client.object_call(self._tell, KEY, told, f"tell {told}")
        if accepted is self._settled:
            self.broken(f"the promise {'took' if accepted else 'refused'} {told}")
        self._settled = True

    async def _do_look(self, client: Client, tried: bool) -> None:
        number, told = await client.object_call(self._look, KEY)
        if number not in (None, self._round):
            self.broken(f"round {self._round} sees the state of {number}")
        if self._settled or told is not None:
            self._see(told)

    async def _do_attach(self, client: Client, tried: bool) -> None:
        self._see_result(await client.workflow_attach(self._main, KEY))

    async def _do_output(self, client: Client, tried: bool) -> None:
        output = await client.workflow_output(self._main, KEY)
        self._see_result(output.value if output.ready else None)

    def _see_result(self, result: list[int] | None) -> None:
        if result != [self._round, self._value]:
            self.broken(f"the run of round {self._round} returned {result}")

    def _see(self, told: int | None) -> None:
        if told != self._value:
            self.broken(f"the promise of round {self._round} has the value {told}")

    async def _do_purge(self, client: Client, tried: bool) -> None:
        try:
            await client.purge(self._run)
        except Refused as refused:
            if refused.status_code != 404 or not tried:
                raise
        try:
            await client.workflow_output(self._main, KEY)
        except Refused as refused:
            if refused.status_code != 404:
                raise
        else:
            self.broken("the run was purged, and has a result")
