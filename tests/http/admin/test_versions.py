"""Several deployments of a service at once: who is pinned where, and how invocations move from one to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perdure.model.ids import format_invocation_id, parse_invocation_id
from perdure.model.records import PutDeployment

from .services import steps

UNKNOWN = "dp_1" + "0" * 22


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


class Versions:
    """A server with two deployments of Steps, `v1` and (after `upgrade`) `v2`."""

    def __init__(self, server: Any, deploy: Any) -> None:
        self.server = server
        self.told: list[str] = []
        self._deploy = deploy
        self.v1 = self.v2 = ""

    async def begin(self) -> None:
        self.v1 = await self.register("v1")

    async def upgrade(self) -> None:
        self.v2 = await self.register("v2")

    async def register(self, version: str) -> str:
        deployed = await self._deploy(steps(version, self.told))
        return str((await self.server.register(deployed.uri))["id"])

    async def send(self) -> str:
        """One that waits for its awakeable."""
        before = len(self.told)
        sent = await self.server.ingress.ask("POST", "/Steps/go/send")
        await until(lambda: len(self.told) > before)
        return str(sent.json()["invocationId"])

    async def answer(self, text: str, number: int = -1) -> None:
        resolved = await self.server.ingress.post(f"/restate/awakeables/{self.told[number]}/resolve", text)
        assert resolved.status == 202

    async def result(self, invocation_id: str) -> Any:
        return (await self.server.ingress.get(f"/restate/attach/{invocation_id}")).json()

    async def patch(self, invocation_id: str, what: str) -> Any:
        return await self.server.admin.patch(f"/invocations/{invocation_id}/{what}")

    def row(self, invocation_id: str) -> Any:
        return self.server.engine.find(parse_invocation_id(invocation_id))

    async def pause(self, invocation_id: str) -> None:
        assert (await self.patch(invocation_id, "pause")).status == 202
        await until(lambda: self.row(invocation_id).status.name == "PAUSED")

    async def in_flight(self) -> Any:
        return (await self.server.admin.get("/perdure/deployments/in-flight")).json()["in_flight"]

    async def limit(self, deployment_id: str, least: int, most: int) -> None:
        """Its protocol versions, as an SDK would have reported them."""
        engine = self.server.engine
        row = engine.registry.deployment(deployment_id)
        other = msgspec.structs.replace(row, min_protocol_version=least, max_protocol_version=most)
        await engine.applied(PutDeployment(0, engine.now_ms(), other))


@pytest.fixture
async def versions(server: Any, deploy: Any) -> Versions:
    made = Versions(server, deploy)
    await made.begin()
    return made


async def test_who_has_begun_stays_where_it_began(versions: Versions) -> None:
    old = await versions.send()
    await until(lambda: versions.row(old).protocol_version is not None)
    await versions.upgrade()
    new = await versions.send()
    await until(lambda: versions.row(new).protocol_version is not None)
    assert (versions.row(old).deployment, versions.row(new).deployment) == (versions.v1, versions.v2)
    assert await versions.in_flight() == {versions.v1: 1, versions.v2: 1}
    await versions.answer("old", 0)
    await versions.answer("new", 1)
    assert [await versions.result(old), await versions.result(new)] == ["v1 old v1", "v2 new v2"]
    assert await versions.in_flight() == {}


async def test_a_resumed_invocation_moves_to_another_deployment(versions: Versions) -> None:
    running = await versions.send()
    await versions.upgrade()
    for where in ("latest", versions.v2, UNKNOWN):
        refused = await versions.patch(running, f"resume?deployment={where}")
        assert (refused.status, refused.json()["restate_code"]) == (409, None)
    await versions.pause(running)
    unknown = await versions.patch(running, f"resume?deployment={UNKNOWN}")
    assert (unknown.status, "was not found" in unknown.json()["message"]) == (400, True)
    bad = await versions.patch(running, "resume?deployment=dp_x")
    assert (bad.status, "The query parameter 'deployment' is invalid." in bad.json()["message"]) == (400, True)
    assert (await versions.patch(running, "resume?deployment=Latest")).status == 200
    await versions.answer("moved")
    assert await versions.result(running) == "v1 moved v2"
    assert versions.row(running).deployment == versions.v2
    assert (await versions.patch(running, "resume?deployment=latest")).status == 409


async def test_kept_is_where_it_was(versions: Versions) -> None:
    running = await versions.send()
    await versions.upgrade()
    await versions.pause(running)
    assert (await versions.patch(running, "resume?deployment=keep")).status == 200
    await versions.answer("kept")
    assert await versions.result(running) == "v1 kept v1"


async def test_what_has_not_begun_cannot_be_moved(versions: Versions) -> None:
    sent = await versions.server.ingress.ask("POST", "/Steps/go/send?delay=1h")
    later = sent.json()["invocationId"]
    assert (await versions.patch(later, "resume?deployment=latest")).status == 425


async def test_an_invocation_moves_only_where_its_protocol_is_spoken(versions: Versions) -> None:
    running = await versions.send()
    await versions.upgrade()
    version = versions.row(running).protocol_version
    await versions.limit(versions.v2, version + 1, version + 1)
    await versions.pause(running)
    refused = await versions.patch(running, "resume?deployment=latest")
    assert (refused.status, f"version {version} " in refused.json()["message"]) == (400, True)


async def test_a_restart_from_the_input_goes_where_new_ones_go_or_where_it_is_told(versions: Versions) -> None:
    done = await versions.send()
    await versions.answer("x")
    await versions.result(done)
    await versions.upgrade()
    for query, where, shown in (
        ("", versions.v2, "v2 y v2"),
        ("?deployment=latest", versions.v2, "v2 y v2"),
        ("?from=0&deployment=keep", versions.v1, "v1 y v1"),
        (f"?deployment={versions.v1}", versions.v1, "v1 y v1"),
    ):
        before = len(versions.told)
        restarted = await versions.patch(done, f"restart-as-new{query}")
        assert restarted.status == 200
        new = restarted.json()["new_invocation_id"]
        await until(lambda before=before: len(versions.told) > before)  # type: ignore[misc]
        await versions.answer("y")
        assert (await versions.result(new), versions.row(new).deployment) == (shown, where)
    assert (await versions.patch(done, f"restart-as-new?deployment={UNKNOWN}")).status == 400


async def test_a_restart_from_a_prefix_goes_on_in_the_latest_deployment_or_in_the_one_named(versions: Versions) -> None:
    done = await versions.send()
    await versions.answer("x")
    await versions.result(done)
    await versions.upgrade()
    for query, where, shown in (
        ("from=1", versions.v2, "v1 z v2"),
        ("from=1&deployment=keep", versions.v1, "v1 z v1"),
        (f"from=1&deployment={versions.v2}", versions.v2, "v1 z v2"),
    ):
        before = len(versions.told)
        restarted = await versions.patch(done, f"restart-as-new?{query}")
        assert restarted.status == 200, restarted.body
        new = restarted.json()["new_invocation_id"]
        row = versions.row(new)
        assert (row.deployment, row.protocol_version) == (where, versions.row(done).protocol_version)
        await until(lambda before=before: len(versions.told) > before)  # type: ignore[misc]
        await versions.answer("z")
        assert await versions.result(new) == shown
    assert (await versions.patch(done, "restart-as-new?from=99")).status == 400
    assert (await versions.patch(done, f"restart-as-new?from=1&deployment={UNKNOWN}")).status == 400
    await versions.limit(versions.v2, 5, 5)
    assert (await versions.patch(done, "restart-as-new?from=1")).status == 400


async def test_a_journal_of_protocol_5_is_restarted_only_from_its_input(versions: Versions) -> None:
    await versions.limit(versions.v1, 5, 5)
    done = await versions.send()
    await versions.answer("x")
    assert await versions.result(done) == "v1 x v1"
    assert versions.row(done).protocol_version == 5
    assert (await versions.patch(done, "restart-as-new?from=1")).status == 422
    assert (await versions.patch(done, "restart-as-new")).status == 200


async def test_what_is_pinned_to_a_removed_deployment_fails_until_it_is_moved(versions: Versions) -> None:
    running = await versions.send()
    await versions.upgrade()
    await versions.pause(running)
    removed = await versions.server.admin.ask("DELETE", f"/deployments/{versions.v1}?force=true")
    assert removed.status == 202
    assert await versions.in_flight() == {versions.v1: 1}
    assert (await versions.patch(running, "resume")).status == 200
    await until(lambda: versions.row(running).last_error is not None)
    error = versions.row(running).last_error
    assert (error.doc_code, versions.v1 in error.message) == ("RT0011", True)
    assert (await versions.patch(running, "resume?deployment=latest")).status == 200
    await versions.answer("saved")
    assert await versions.result(running) == "v1 saved v2"


async def test_a_batch_moves_too(versions: Versions) -> None:
    running = [await versions.send(), await versions.send()]
    await versions.upgrade()
    for each in running:
        await versions.pause(each)
    unknown = format_invocation_id(bytes(24))
    answer = await versions.server.admin.post(
        "/internal/invocations_batch_operations/resume", {"invocation_ids": [*running, unknown], "deployment": "Latest"}
    )
    body = answer.json()
    assert (answer.status, sorted(body["succeeded"])) == (200, sorted(running))
    assert body["failed"] == [{"invocation_id": unknown, "error": f"Invocation '{unknown}' not found"}]
    assert {versions.row(each).deployment for each in running} == {versions.v2}
    await versions.answer("a", 0)
    await versions.answer("b", 1)
    assert sorted([await versions.result(each) for each in running]) == ["v1 a v2", "v1 b v2"]
    again = await versions.server.admin.post(
        "/internal/invocations_batch_operations/restart-as-new", {"invocation_ids": running}
    )
    assert sorted(each["old_invocation_id"] for each in again.json()["succeeded"]) == sorted(running)
    assert all(versions.row(each["new_invocation_id"]) is not None for each in again.json()["succeeded"])


async def test_a_restart_from_the_output_comes_to_it_again(versions: Versions) -> None:
    done = await versions.send()
    await versions.answer("x")
    await versions.result(done)
    last = versions.row(done).journal_length - 1
    restarted = await versions.patch(done, f"restart-as-new?from={last}")
    assert restarted.status == 200
    assert await versions.result(restarted.json()["new_invocation_id"]) == "v1 x v1"
    assert (await versions.patch(done, f"restart-as-new?from={last + 1}")).status == 400
