"""Idempotency keys that are used again: within their retention, when it is over, and after a purge.

What must hold: within its retention a key gives the result that it gave before; when it is over, or the result is purged,
the key starts anew and the old result is never given again; a purge of the journal alone leaves the result.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, InvocationNotFound
from perdure.sdk.context import Context
from perdure.sdk.service import Service
from perdure.testing.sim.errands.errand import Errand, value
from perdure.testing.sim.steps import step
from perdure.testing.sim.world import World

_RETENTION_S = 4
_CLEANED_WITHIN_MS = 30_000
"""Of a checkpoint: longer than a turn of the cleaner takes."""


@dataclass(slots=True)
class Key:
    """`ticket`: what its last run returned, and `until_ms`, how long that is kept for certain; 0: nobody knows."""

    name: str
    invocation_id: bytes = b""
    ticket: str = ""
    until_ms: int = 0
    gone: set[str] = field(default_factory=set[str])
    """Results that were purged, or whose time was over long ago."""


class ReusedKeys(Errand):
    check = "key"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._keys = [Key("gate a"), Key("gate b")]
        self._turns = random.randint(4, 9)
        self.service = self._make_service()

    def _make_service(self) -> Service:
        world = self.world
        gate = Service("Gate")

        @gate.handler(idempotency_retention=timedelta(seconds=_RETENTION_S))
        async def enter(ctx: Context) -> str:
            # The id of a request with a key is always the same; what is drawn is new in each run of it.
            ticket = str(ctx.uuid())
            entered: str = await step(world, ctx, f"enter {ticket}", ticket, 1, ticket, ms=20)
            return entered

        return gate

    async def turn(self, engine: Engine) -> bool:
        key = self.random.choice(self._keys)
        what = self.random.choice(("ask", "ask", "ask", "purge", "purge journal", "wait"))
        if what == "wait":
            await asyncio.sleep(self.random.choice((0.5, 6.0, 40.0)))
        elif what == "ask" or not key.ticket:
            await self._ask(engine, key)
        elif what == "purge":
            await self._purge(engine, key)
        else:
            await self._purge_journal(engine, key)
        self._turns -= 1
        return self._turns > 0

    async def _ask(self, engine: Engine, key: Key) -> None:
        self._outlive(engine, key)
        outcome = await engine.call(self.request("enter", None, idempotency_key=key.name))
        ticket = value(outcome)
        self.note(f"{key.name} gives {ticket}")
        if ticket in key.gone:
            self.broken(f"{key.name} was answered with a result that was gone")
        if key.ticket and ticket != key.ticket and engine.now_ms() < key.until_ms:
            self.broken(f"{key.name} ran again within its retention")
        key.invocation_id, key.ticket, key.until_ms = outcome.invocation_id, ticket, 0
        row = await self.find(engine, outcome.invocation_id)
        key.until_ms = 0 if row is None else row.completed_at_ms + _RETENTION_S * 1000

    def _outlive(self, engine: Engine, key: Key) -> None:
        """What is over by now may not be given to who asks from now on."""
        within_ms = _CLEANED_WITHIN_MS + engine.settings.checkpoint_interval_ms
        if key.until_ms and engine.now_ms() > key.until_ms + within_ms and self._awake_s(engine) * 1000 > within_ms:
            key.gone.add(key.ticket)
            key.ticket = ""

    def _awake_s(self, engine: Engine) -> float:
        """How long this process has been there: what passed while none was is nobody's to clean."""
        return engine.loop.time() - self.world.process_began_s

    async def _purge(self, engine: Engine, key: Key) -> None:
        until_ms, key.until_ms = key.until_ms, 0
        try:
            await engine.purge(key.invocation_id)
        except ControlRefused:
            return  # a run of which nobody was told is under way
        except InvocationNotFound:
            if engine.now_ms() < until_ms:
                self.broken(f"{key.name} is forgotten within its retention")
        self.note(f"{key.name} is purged")
        key.gone.add(key.ticket)
        key.ticket = ""
        if await self.find(engine, key.invocation_id) is not None:
            self.broken(f"{key.name} was purged and is still there")

    async def _purge_journal(self, engine: Engine, key: Key) -> None:
        try:
            await engine.purge_journal(key.invocation_id)
        except (ControlRefused, InvocationNotFound):
            return  # its time was over
        self.note(f"the journal of {key.name} is purged")
        try:
            await engine.restart(key.invocation_id)
        except (ControlRefused, InvocationNotFound):
            return
        self.broken(f"{key.name} was restarted from a journal that was purged")
