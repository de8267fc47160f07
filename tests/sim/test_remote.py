"""Workers elsewhere and the network to them: what the theme `remote` stands on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest

from perdure.testing.sim import simulate
from perdure.testing.sim.remote.guest_loop import GuestLoop
from perdure.testing.sim.remote.network import HIGH_WATER_BYTES, End, Listener, Network
from perdure.testing.sim.virtual_time import SimLoop

from .test_simulation import run_sim

PORT = 9080


class Noted(asyncio.Protocol):
    """What it was told; `ends` is its own side of the connection."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.data = b""
        self.pieces = 0
        self.end: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, End)
        self.end = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("reset" if exc else "closed")

    def pause_writing(self) -> None:
        self.told.append("full")

    def resume_writing(self) -> None:
        self.told.append("room")


class Two:
    """A host, a guest that listens, and a network between them."""

    def __init__(self, seed: int = 1) -> None:
        self.host = SimLoop(Random(seed), 1_000.0)
        self.guest = GuestLoop(Random(seed), 1_000.0)
        self.network = Network(Random(seed), lambda _: None)
        self.there = Noted()
        self.guest.move_to(self.host)
        self.network.listen(PORT, Listener(self.guest, lambda: self.there))

    def connect(self) -> Noted:
        return self.host.run_until_complete(self.network.connect(self.host, Noted, PORT))[1]

    def wait(self, seconds: float) -> None:
        self.host.run_until_complete(asyncio.sleep(seconds))

    def close(self) -> None:
        self.guest.bury()
        self.host.close()


def with_two(check: Callable[[Two], None], seed: int = 1) -> None:
    two = Two(seed)
    try:
        check(two)
    finally:
        two.close()


def sending(noted: Noted) -> End:
    assert noted.end is not None
    return noted.end


@pytest.mark.parametrize("seed", range(5))
def test_what_is_sent_arrives_in_order_and_late(seed: int) -> None:
    def check(two: Two) -> None:
        here = two.connect()
        sent = [bytes([number]) * 5 for number in range(50)]
        for each in sent:
            sending(here).write(each)
        assert two.there.data == b""
        two.wait(5)
        assert two.there.data == b"".join(sent)
        sending(two.there).write(b"answer")
        sending(two.there).close()
        two.wait(5)
        assert (here.data, here.told, two.there.told) == (b"answer", ["eof", "closed"], ["closed"])

    with_two(check, seed)


def test_a_network_that_is_cut_delivers_when_it_is_mended() -> None:
    def check(two: Two) -> None:
        here = two.connect()
        two.network.cut(PORT, two.host.time() + 30)
        sending(here).write(b"late")
        two.wait(29)
        assert two.there.data == b""
        two.wait(2)
        assert two.there.data == b"late"

    with_two(check)


def test_who_sends_too_much_is_told_to_wait() -> None:
    def check(two: Two) -> None:
        here = two.connect()
        two.guest.freeze()
        sending(here).write(bytes(HIGH_WATER_BYTES + 1))
        two.wait(10)
        assert here.told == ["full"]
        two.guest.thaw()
        two.wait(10)
        assert here.told == ["full", "room"]

    with_two(check)


@pytest.mark.parametrize("silent", [False, True])
def test_a_process_that_is_gone_is_told_of_unless_its_machine_is_gone_too(silent: bool) -> None:
    def check(two: Two) -> None:
        here = two.connect()
        two.wait(1)
        two.network.refuse(PORT, two.guest)
        two.network.perish(two.guest, silent=silent)
        two.wait(10)
        sending(here).write(b"anybody?")
        two.wait(10)
        assert here.told == ([] if silent else ["reset"])
        with pytest.raises(ConnectionRefusedError):
            two.connect()

    with_two(check)


def test_a_guest_has_the_time_of_its_host_and_stands_still_without_one() -> None:
    def check(two: Two) -> None:
        ran: list[float] = []
        for delay_s in (1.0, 2.0, 3.0):
            two.guest.call_later(delay_s, lambda: ran.append(two.guest.time()))
        two.wait(1.5)
        assert ran == [1_001.0]
        two.guest.freeze()
        two.wait(2)
        assert ran == [1_001.0]
        two.guest.thaw()
        two.wait(0.1)
        assert ran == [1_001.0, 1_003.5, 1_003.5]
        two.guest.call_later(1, lambda: ran.append(0.0))
        two.guest.move_to(None)
        two.wait(5)
        assert len(ran) == 3
        two.guest.move_to(two.host)
        two.wait(0.1)
        assert len(ran) == 4

    with_two(check)


def test_a_task_of_a_guest_comes_to_its_end_with_it() -> None:
    two, ended = Two(), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(str(asyncio.get_running_loop() is two.guest))

    task = two.guest.create_task(work())
    two.wait(1)
    two.close()
    assert ended == ["True"]
    assert task.cancelled()


def test_a_seed_repeats() -> None:
    first, second = simulate(1, theme="remote"), simulate(1, theme="remote")
    assert first.violation is None
    assert first.digest == second.digest
    assert first.records > 0


@pytest.mark.slow
def test_a_seed_gives_the_same_trace_under_another_hash_seed() -> None:
    outputs = [run_sim("--seed", "2", "--theme", "remote", hash_seed=hash_seed) for hash_seed in ("1", "77")]
    assert [output.returncode for output in outputs] == [0, 0], outputs[0].stderr
    assert outputs[0].stdout == outputs[1].stdout


@pytest.mark.slow
def test_the_engine_holds_on_more_seeds() -> None:
    for seed in range(10, 30):
        assert simulate(seed, theme="remote").violation is None, f"seed {seed} of theme remote"


@pytest.mark.slow
def test_without_the_extra_it_says_what_to_install() -> None:
    hide = "import sys; sys.modules['restate'] = None; from perdure.testing.sim.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", hide, "--seeds", "1", "--theme", "remote"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("PD0419: ") and "perdure[restate]" in done.stderr
