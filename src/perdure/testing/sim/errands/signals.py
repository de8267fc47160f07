"""Named signals from outside, and a caller that waits for a result through stops and starts.

What must hold: a handler hears every signal that was acknowledged, in the order in which they were sent, and none that nobody
sent; whoever attaches, in whichever process, gets the one result.
"""

from __future__ import annotations

from random import Random

from perdure.client.errors import Refused
from perdure.node.engine import Engine
from perdure.sdk.context import Context
from perdure.sdk.service import Service
from perdure.testing.sim.errands.errand import Errand, client_of
from perdure.testing.sim.world import World


class Signals(Errand):
    check = "signal"

    def __init__(self, world: World, random: Random, *, forgets: bool) -> None:
        super().__init__(world, random, forgets=forgets)
        self._count = random.randint(1, 4)
        self._sent: list[int] = []
        """Numbers in the order in which they were sent; again when nobody knows what became of it."""
        self._next = 1
        self._listening = ""
        self._waited = 0
        self.service = self._make_service()

    def _make_service(self) -> Service:
        sent, broken = self._sent, self.broken
        ear = Service("Ear")

        @ear.handler()
        async def listen(ctx: Context, count: int) -> list[int]:
            heard: list[int] = []
            while not heard or heard[-1] != count:
                heard.append(await ctx.signal("word", type_hint=int))
                if heard.count(heard[-1]) > sent.count(heard[-1]):
                    broken(f"heard {heard}, but sent was {sent}")
            return heard

        self._listen = listen
        return ear

    async def turn(self, engine: Engine) -> bool:
        client, number = client_of(engine), self._next
        if not self._listening:
            sent = await client.service_send(self._listen, self._count, idempotency_key="ear")
            self._listening = sent.invocation_id
        elif number <= self._count:
            again = number in self._sent
            self._sent.append(number)
            self.note(f"sends {number}{' again' if again else ''}")
            try:
                await client.resolve_signal(self._listening, "word", number)
            except Refused as refused:
                if not (again and number == self._count and refused.status_code == 409):
                    raise
            self._next += 1
        else:
            heard = await client.attach(self._listening, list[int])
            if list(dict.fromkeys(heard)) != list(range(1, self._count + 1)):
                self.broken(f"sent was {self._sent}, and heard {heard}")
            self._waited += 1
        return self._waited < 2
