"""Policies of app, service, handler and node: which wins, and that each has its effect."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.http.ingress.refusals import RequestRefused
from perdure.http.ingress.targets import resolve_path
from perdure.model.retry import RetryPolicy
from perdure.model.service import DAY_MS, HandlerSpec
from perdure.model.target import HandlerKind
from perdure.node.registry import Registry
from perdure.node.settings import EngineSettings
from perdure.sdk.app import App
from perdure.store.rows import Status

from .rig import call, row_of, running, send, until, until_status
from .virtual import SECOND, in_virtual_time

KEYWORDS = {
    "inactivity_timeout": "inactivity_timeout_ms",
    "abort_timeout": "abort_timeout_ms",
    "journal_retention": "journal_retention_ms",
    "idempotency_retention": "idempotency_retention_ms",
    "workflow_retention": "workflow_completion_retention_ms",
}
"""The keyword of the author, and the field of the engine."""


async def nothing(ctx: perdure.WorkflowContext) -> None: ...


def resolved(app: dict[str, Any], service: dict[str, Any], handler: dict[str, Any], **node: Any) -> HandlerSpec:
    """The policies of a workflow's run, where each level says what it says."""
    workflow = perdure.Workflow("W", **service)
    workflow.main(**handler)(nothing)
    services = perdure.app([workflow], **app).services()
    return Registry(services, EngineSettings(**node)).resolve("W", "nothing")[1]


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_the_more_specific_level_wins(keyword: str) -> None:
    field = KEYWORDS[keyword]

    def ms(*levels: int | None) -> int:
        said = [{} if level is None else {keyword: timedelta(seconds=level)} for level in levels]
        if keyword == "idempotency_retention":
            said[2] = {}  # the run of a workflow takes none
        if keyword == "workflow_retention":
            said[1] = {}  # a workflow as a whole takes none
        value: int = getattr(resolved(*said, **{field: 1 * SECOND}), field)
        return value // SECOND

    assert ms(None, None, None) == 1, "the node's, where nobody says anything"
    assert ms(2, None, None) == 2
    assert ms(2, 3, None) == (2 if keyword == "workflow_retention" else 3)
    assert ms(2, None if keyword == "workflow_retention" else 3, 4) == (3 if keyword == "idempotency_retention" else 4)


@pytest.mark.parametrize("keyword", [keyword for keyword in KEYWORDS if "retention" not in keyword])
def test_a_choice_that_equals_the_default_is_a_choice(keyword: str) -> None:
    field = KEYWORDS[keyword]
    default_ms: int = getattr(EngineSettings(), field)
    said = {keyword: timedelta(milliseconds=default_ms)}
    for levels in ([said, {}, {}], [{}, said, {}], [{}, {}, said]):
        assert getattr(resolved(*levels, **{field: 7}), field) == default_ms


def test_a_policy_of_retries_is_put_together_field_by_field() -> None:
    def retry(**fields: Any) -> dict[str, Any]:
        return {"invocation_retry_policy": perdure.InvocationRetryPolicy(**fields)}

    found = resolved(
        retry(max_attempts=9, on_max_attempts="kill", initial_interval=timedelta(seconds=9)),
        retry(max_attempts=8, max_interval=timedelta(seconds=8)),
        retry(max_attempts=70),
        default_retry=RetryPolicy(factor=5.0, max_attempts=3, on_max_attempts="pause"),
    ).retry
    assert found == RetryPolicy(
        initial_interval_ms=9_000, factor=5.0, max_interval_ms=8_000, max_attempts=70, on_max_attempts="kill"
    )


def test_lazy_state_and_privacy_too() -> None:
    for keyword, field in (("enable_lazy_state", "lazy_state"), ("ingress_private", "public")):
        for levels, expected in (
            ([None, None, None], False),
            ([True, None, None], True),
            ([True, False, None], False),
            ([None, True, None], True),
            ([None, True, False], False),
            ([False, False, True], True),
        ):
            found = getattr(resolved(*[{} if level is None else {keyword: level} for level in levels]), field)
            assert found is (expected if field == "lazy_state" else not expected), (keyword, levels)


def test_each_service_keeps_the_policies_of_the_app_it_came_with() -> None:
    one, two = perdure.Service("One"), perdure.Service("Two")
    for service in (one, two):
        service.handler()(nothing)
    together = App().include(perdure.app([one], ingress_private=True)).include(perdure.app([two]))
    assert [(spec.name, spec.public) for spec in together.services()] == [("One", False), ("Two", True)]


# --- what they do ---------------------------------------------------------------------------------------------------------

shop = perdure.Service("Shop")
ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()


@shop.handler(ingress_private=True)
async def inside(ctx: perdure.Context, name: str) -> str:
    return f"seen {name}"


@shop.handler()
async def front(ctx: perdure.Context, name: str) -> str:
    return await ctx.service_call(inside, name)


@shop.handler(invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=3, on_max_attempts="pause"))
async def pauses(ctx: perdure.Context) -> None:
    ran["pauses"] += 1
    raise ValueError("no stock")


@shop.handler(invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=2, on_max_attempts="kill"))
async def killed(ctx: perdure.Context) -> None:
    ran["killed"] += 1
    raise ValueError("no stock")


@shop.handler()
async def asks_for_time(ctx: perdure.Context) -> str:
    ran["asks"] += 1
    if ran["asks"] == 1:
        raise perdure.RetryableError("busy", retry_after=timedelta(hours=3))
    return "served"


@shop.handler(inactivity_timeout=timedelta(seconds=5))
async def impatient(ctx: perdure.Context) -> str:
    _, waits = ctx.awakeable()
    return await waits


@in_virtual_time
async def test_a_private_handler_is_refused_at_the_ingress_and_called_by_handlers() -> None:
    async with running([shop]) as engine:
        with pytest.raises(RequestRefused) as refused:
            resolve_path(engine.registry, "Shop", ["inside"])
        assert (refused.value.status, "not public" in refused.value.message) == (400, True)
        assert await call(engine, "Shop/front", "Ann") == "seen Ann"


@in_virtual_time
async def test_retries_that_are_exhausted_pause_with_the_reason_or_kill() -> None:
    async with running([shop]) as engine:
        row = await until_status(engine, await send(engine, "Shop/pauses"), Status.PAUSED)
        assert ran["pauses"] == 3
        assert row.last_error is not None and "ValueError: no stock" in row.last_error.message
        assert await call(engine, "Shop/killed") == (500, "ValueError: no stock")
        assert ran["killed"] == 2


@in_virtual_time
async def test_a_retryable_error_sets_the_next_delay() -> None:
    async with running([shop]) as engine:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await call(engine, "Shop/asks_for_time") == "served"
        assert 3 * 3600 <= loop.time() - began < 3 * 3600 + 1


@in_virtual_time
async def test_an_attempt_that_waits_leaves_memory_after_the_handlers_own_timeout(tmp_path: Path) -> None:
    async with running([shop], tmp_path / "data") as engine:
        loop = asyncio.get_running_loop()
        invocation_id = await send(engine, "Shop/impatient")
        began = loop.time()
        await until(lambda: row_of(engine, invocation_id).status is Status.SUSPENDED)
        assert 4 < loop.time() - began < 8
        assert len(engine.pool) == 0


def test_the_kind_of_the_defaults_is_never_seen() -> None:
    assert resolved({}, {}, {}).kind is HandlerKind.RUN


def test_nobody_chooses_more_than_the_node_allows() -> None:
    service = perdure.Service(
        "Greedy",
        journal_retention=timedelta(days=30),
        idempotency_retention=timedelta(seconds=1),
        invocation_retry_policy=perdure.InvocationRetryPolicy(max_attempts=1000),
    )

    @service.handler()
    async def work(ctx: perdure.Context) -> None:
        return None

    settings = EngineSettings(
        journal_retention_max_ms=7 * DAY_MS,
        idempotency_retention_max_ms=DAY_MS,
        workflow_completion_retention_max_ms=3,
        retry_attempts_max=10,
    )
    (spec,) = Registry(perdure.app([service]).services(), settings).services()
    handler = spec.handlers["work"]
    assert (handler.journal_retention_ms, handler.idempotency_retention_ms) == (7 * DAY_MS, 1_000)
    assert (handler.workflow_completion_retention_ms, handler.retry.max_attempts) == (3, 10)
