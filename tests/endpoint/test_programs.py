"""The programs that try asyncio's order, and programs made at random, against journals with answers in any order.

The official state machine refuses a replay that issues another command than the attempt before.
"""

from __future__ import annotations

import random

import pytest

import perdure
from perdure.model import journal as j
from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.target import Target
from tests.endpoint.journal_server import JournalServer
from tests.sdk import programs, test_random_programs

corpus = perdure.app([programs.programs, programs.cell])
at_random = perdure.app([test_random_programs.programs])
HANDLERS = [
    (service.name, name)
    for service in corpus.services()
    for name in service.handlers
    if not service.handlers[name].input.required and name != "callee"
]


@pytest.mark.parametrize(("service", "handler"), HANDLERS)
@pytest.mark.parametrize("seed", range(3))
async def test_the_corpus(service: str, handler: str, seed: int) -> None:
    key = None if service == "Programs" else "k"
    server = JournalServer(corpus, Target(service, key, handler), b"", seed, patient=True)
    assert isinstance(await server.run(cut_off=0.2, suspend=0.1), bytes)


@pytest.mark.parametrize("seed", range(60))
async def test_programs_at_random(seed: int) -> None:
    dice = random.Random(seed)
    server = JournalServer(at_random, Target("Random", None, "anything"), b"", seed, dice.choice([5, 6, 7]))
    if dice.random() < 0.3:
        server.to_tell.append(j.Signal(CANCEL_SIGNAL))
    result = await server.run(cut_off=0.2, suspend=0.2)
    assert isinstance(result, bytes | j.Failure)
