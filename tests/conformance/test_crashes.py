"""The server dies, the services die: nothing that was acknowledged is lost, no finished step runs again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import wait_until

from .conftest import Own

pytestmark = pytest.mark.slow


def restart_server(own: Own) -> None:
    own.server.kill()
    own.server.start()
    own.server.wait_ready()


def test_the_server_dies_while_handlers_wait(own: Own, key: str) -> None:
    world = own.world
    waiting = {at: world.send("/Util/awaits", f"{key}-{at}", idempotency_key=f"{key}-{at}") for at in range(10)}
    blocked = world.send(f"/Blocker/{key}/block", "awakeable")
    names = {at: world.held(f"{key}-{at}") for at in waiting}
    assert world.held(key) == "blocked"
    queued = world.send(f"/Blocker/{key}/pings")
    later = world.send(f"/Holder/{key}-later/hold/send?delay=1s", "late")
    restart_server(own)
    for at, name in names.items():
        wait_until(lambda name=name, at=at: world.call(f"/restate/awakeables/{name}/resolve", at).status_code == 202)
    assert {at: world.attach(each).json() for at, each in waiting.items()} == {at: at for at in waiting}
    assert world.patch(f"/invocations/{blocked}/cancel").status_code == 202
    assert world.attach(queued).json() == "free"
    assert world.held(f"{key}-later") == "late"
    assert later.startswith("inv_1")


def test_the_server_dies_under_a_step(own: Own, key: str) -> None:
    world = own.world
    invocation_id = world.send("/Util/slow_step", {"name": key, "ms": 300})
    wait_until(lambda: f"{key} begins" in own.services.effects())
    restart_server(own)
    assert world.attach(invocation_id).json() == "v1 done"
    effects = [line for line in own.services.effects() if line.startswith(key)]
    assert effects.count(f"{key} after") == 1
    assert effects.count(f"{key} begins") <= 2


def test_the_services_die_under_a_step(own: Own, key: str) -> None:
    world = own.world
    invocation_id = world.send("/Util/slow_step", {"name": key, "ms": 300})
    wait_until(lambda: f"{key} begins" in own.services.effects())
    own.services.kill()
    own.services.start()
    assert world.attach(invocation_id).json() == "v1 done"
    assert own.services.effects().count(f"{key} after") == 1


def test_calls_while_the_services_are_gone(own: Own, key: str) -> None:
    world = own.world
    own.services.kill()
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(world.ok, f"/Counter/{key}/add", 1) for _ in range(4)]
        own.services.start()
        assert sorted(answer.result()["old"] for answer in answers) == [0, 1, 2, 3]


def test_counts_are_exact_under_kills(own: Own, key: str) -> None:
    """Acknowledged sends, with the server killed in between and idempotency keys for those that were not answered."""
    world = own.world

    def add(at: int) -> None:
        def sent() -> bool:
            try:
                answer = world.call(f"/Counter/{key}/add/send", 1, idempotency_key=f"{key}-{at}")
            except Exception:
                return False
            return answer.status_code == 202

        wait_until(sent)

    with ThreadPoolExecutor(8) as threads:
        adding = [threads.submit(add, at) for at in range(100)]
        for _ in range(2):
            restart_server(own)
        for each in adding:
            each.result()
    wait_until(lambda: world.call(f"/Counter/{key}/get").json() == 100)
