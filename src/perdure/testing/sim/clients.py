"""Callers outside: each does one thing after the other, and is there before, during and after every process.

What a process took down is asked again if it can be (by its idempotency key), and otherwise is left as it is: it may have
been accepted or not. What was acknowledged must come to its end, with the result that the program says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import msgspec

from perdure.model.ids import parse_awakeable_id
from perdure.model.journal import Failure, Result
from perdure.model.target import Target
from perdure.node.engine import Engine
from perdure.node.errors import ControlRefused, DiskFull, InvocationNotFound, Overloaded
from perdure.node.requests import Accepted, NewInvocation, Outcome
from perdure.store.rows import Status
from perdure.testing.sim.programs import Author, Program, expected, matches, tokens
from perdure.testing.sim.world import World


@dataclass(slots=True)
class Request:
    """One thing that a client does. `tried`: a process took it down, and nobody knows what came of it."""

    kind: Literal["call", "send", "attach", "add", "read"]
    name: str
    program: Program | None = None
    key: str = ""
    amount: int = 0
    ms: int = 0
    idempotent: bool = False
    delay_ms: int = 0
    tried: bool = False


class Client:
    def __init__(
        self, number: int, world: World, random: Random, author: Author, others: list[Client], *, forgets: bool
    ) -> None:
        """`others`: all clients of its seed."""
        self._world = world
        self._others = others
        self._random = random
        self._forgets = forgets
        self.accepted: dict[bytes, Request] = {}
        """Sent and acknowledged."""
        self.disturbed: set[bytes] = set()
        """Cancelled or killed by an operator: their results may be anything."""
        self.requests = [self._request(f"r{number}.{index}", author) for index in range(random.randint(2, 5))]
        self.finished: list[Program] = []
        """Programs that came to their end undisturbed."""

    def _request(self, name: str, author: Author) -> Request:
        random = self._random
        kind = random.choice(("call", "call", "send", "send", "attach", "add", "add", "read"))
        idempotent = random.random() < 0.5
        if kind == "attach":
            return Request("attach", name)
        if kind in ("add", "read"):
            cell = author.cell()
            return Request(kind, name, None, cell.key, cell.value, cell.ms, idempotent)  # type: ignore[arg-type]
        delay_ms = random.choice((0, 0, 1_500))
        return Request(kind, name, author.program(), idempotent=idempotent, delay_ms=delay_ms)  # type: ignore[arg-type]

    async def run(self, engine: Engine) -> None:
        """Go on until everything is done. Errors: NodeStopped, LogStopped when the process ends before."""
        while self.requests:
            await asyncio.sleep(self._random.choice((0.0, 0.01, 1.0, 3.0)) * self._random.random())
            await engine.ready()
            request = self.requests[0]
            if request.tried and not request.idempotent and request.kind != "attach":
                self._world.trace.note(f"client leaves {request.name}: nobody knows what came of it")
                self.requests.pop(0)
                continue
            try:
                await self._do(engine, request)
            except (Overloaded, DiskFull):
                await asyncio.sleep(0.5)
                continue
            self.requests.pop(0)

    async def _do(self, engine: Engine, request: Request) -> None:
        key = request.name if request.idempotent else None
        note = self._world.trace.note
        note(f"client asks {request.name} {request.kind}")
        request.tried = True
        match request.kind:
            case "call":
                assert request.program is not None
                outcome = await engine.call(_invocation(request.program, key))
                await self._check(engine, request, outcome)
                self._judge(outcome.invocation_id, request.program, outcome.result)
            case "send":
                assert request.program is not None
                self._world.defer(request.program.token, engine.now_ms() + request.delay_ms)
                accepted = await engine.send(_invocation(request.program, key, request.delay_ms))
                self.accepted[accepted.invocation_id] = request
                await self._check(engine, request, accepted)
            case "attach":
                await self._attach(engine)
            case "add" | "read":
                await self._use_cell(engine, request, key)
        note(f"client has {request.name}")

    async def _check(self, engine: Engine, request: Request, answer: Accepted | Outcome) -> None:
        """What is said to have happened is there, before who was told does anything else."""
        await engine.ready()
        row = engine.find(answer.invocation_id)
        if row is None:
            if not self._forgets and answer.invocation_id not in self.disturbed:
                self._world.broken("acknowledged", f"{request.name} is answered, and unknown")
        elif isinstance(answer, Outcome) and (row.status is not Status.COMPLETED or row.result != answer.result):
            self._world.broken("acknowledged", f"{request.name} is answered, and {row.status.name}")

    async def _attach(self, engine: Engine) -> None:
        """Three wait for what somebody sent; one of them leaves early."""
        sent = [(each, other) for other in self._others for each in other.accepted]
        if not sent:
            return
        invocation_id, sender = self._random.choice(sent)
        program = sender.accepted[invocation_id].program
        assert program is not None
        waiting = [asyncio.ensure_future(engine.attach(invocation_id)) for _ in range(3)]
        try:
            await asyncio.wait(waiting, timeout=self._random.random())
            waiting.pop(0).cancel()
            for outcome in await asyncio.gather(*waiting):
                sender._judge(invocation_id, program, outcome.result)
        except InvocationNotFound:
            if not self._forgets and invocation_id not in sender.disturbed:
                self._world.broken("acknowledged", f"{program.token} was accepted, and is unknown now")
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _use_cell(self, engine: Engine, request: Request, key: str | None) -> None:
        history = self._world.history
        history.begin(request.key, request.name, request.amount if request.kind == "add" else None)
        arg = [request.amount, request.ms] if request.kind == "add" else None
        outcome = await engine.call(_to(Target("Cell", request.key, request.kind), arg, key))
        assert isinstance(outcome.result, bytes), outcome
        history.end(request.key, request.name, json.loads(outcome.result))

    def _judge(self, invocation_id: bytes, program: Program, result: Result) -> None:
        found = ["failed", result.code] if isinstance(result, Failure) else json.loads(result or b"null")
        if invocation_id in self.disturbed:
            return
        if not matches(expected(program), found):
            self._world.broken("result", f"{program.token} returned {found}, not {expected(program)}")
        self.finished.append(program)

    def judge_end(self, engine: Engine) -> None:
        """After everything has come to its end."""
        for invocation_id, request in self.accepted.items():
            assert request.program is not None
            row = engine.find(invocation_id)
            if row is not None:
                self._judge(invocation_id, request.program, row.result)
            elif not self._forgets and invocation_id not in self.disturbed:
                self._world.broken("acknowledged", f"{request.name} was accepted, and is unknown now")
        for program in self.finished:
            for token in tokens(program):
                if len(self._world.entries.get(token, ())) != 1:
                    self._world.broken("exactly-once", f"{token} of {program.token} did not run as one invocation")


class Outside:
    """Resolves awakeables that were handed out, until it is sure that they are."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._done: set[str] = set()

    def begin_again(self) -> None:
        """What was acknowledged may be gone."""
        self._done.clear()

    async def run(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(0.05 + self._random.random())
            await engine.ready()
            for awakeable, value in list(self._world.posted.items()):
                if awakeable not in self._done:
                    invocation_id, signal = parse_awakeable_id(awakeable)
                    await engine.signal(invocation_id, signal, json.dumps(value).encode())
                    self._done.add(awakeable)


class Operator:
    """Pauses and resumes whatever is there; cancels, kills and purges what clients have sent, unless he is `gentle`."""

    def __init__(self, random: Random, clients: list[Client], every_s: float, *, gentle: bool) -> None:
        self._random = random
        self._clients = clients
        self._every_s = every_s
        self._gentle = gentle

    async def run(self, engine: Engine) -> None:
        random = self._random
        for _ in range(_OPERATIONS_MAX):
            await asyncio.sleep(self._every_s * (0.1 + random.random()))
            await engine.ready()
            actions, invocation_id = self._choose(engine)
            if invocation_id is not None:
                await asyncio.gather(*(self._act(engine, action, invocation_id) for action in actions))

    async def _act(self, engine: Engine, action: str, invocation_id: bytes) -> None:
        with contextlib.suppress(ControlRefused, InvocationNotFound):
            await getattr(engine, action)(invocation_id)

    def _choose(self, engine: Engine) -> tuple[tuple[str, ...], bytes | None]:
        """What he does at once, and to whom."""
        random = self._random
        if self._gentle or random.random() < 0.6:
            tables = random.choice(engine.store.tables)
            newest = tables.meta.next_seq - 1
            row = tables.invocation(random.randint(max(1, newest - 8), newest)) if newest else None
            return random.choice((("pause",), ("resume",), ("pause", "resume"))), None if row is None else row.id
        client = random.choice(self._clients)
        if not client.accepted:
            return (), None
        invocation_id = random.choice(list(client.accepted))
        client.disturbed.add(invocation_id)
        return random.choice((("cancel",), ("kill",), ("kill", "purge"))), invocation_id


_OPERATIONS_MAX = 20
"""In the life of one process."""


def _invocation(program: Program, key: str | None, delay_ms: int = 0) -> NewInvocation:
    target = Target("Thing", program.key, "run") if program.key else Target("Plain", None, "run")
    return _to(target, msgspec.to_builtins(program), key, delay_ms)


def _to(target: Target, arg: Any, key: str | None, delay_ms: int = 0) -> NewInvocation:
    body, content_type = (b"", None) if arg is None else (json.dumps(arg).encode(), "application/json")
    return NewInvocation(target, body, content_type, idempotency_key=key, delay_ms=delay_ms)
