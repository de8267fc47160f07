"""Failures of handlers and steps elsewhere, and what the next attempt is told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure.model.retry import RetryPolicy
from perdure.store.rows import Status
from tests.invoker.remote.deployed import Deployed, deployed

pytestmark = pytest.mark.slow


@pytest.fixture(params=[False, True], ids=["v6", "v7"])
async def there(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Deployed]:
    policy = RetryPolicy(initial_interval_ms=5, factor=1.0, max_attempts=4)
    async with deployed(tmp_path, service_protocol_v7=request.param, default_retry=policy) as running:
        yield running


async def test_a_handler_is_tried_again(there: Deployed) -> None:
    assert await there.call("Greeter/flaky", 2) == 3


async def test_attempts_run_out(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/flaky", 1000)
    row = await there.until_status(invocation_id, Status.PAUSED)
    assert len(there.effects()) == 4 and row.last_error is not None
    assert row.last_error.message == "ValueError('try 4')" and row.last_error.doc_code == "RT0007"
    assert "ValueError" in row.last_error.stacktrace


async def test_a_step_with_a_policy_of_its_own_gives_up_by_it(there: Deployed) -> None:
    """The SDK counts by what Start says of the failures since the last entry."""
    assert await there.call("Greeter/flaky_step", 1000) == "gave up: ValueError('try 3')"
    assert there.effects() == ["before one", "try one", "try one", "try one"]


async def test_a_step_that_fails_is_named(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/flaky_step", 2)
    assert await there.attach(invocation_id) == "try 3"
    error = there.row(invocation_id).last_error
    assert error is not None and error.message == "ValueError('try 2')"
    assert (error.command_name, error.command_type, error.command_index) == ("body", "Run", 2)


async def test_a_journal_mismatch_is_tried_again_and_pauses_in_the_end(there: Deployed) -> None:
    invocation_id = await there.send("Greeter/changes_its_mind", "x")
    row = await there.until_status(invocation_id, Status.PAUSED)
    assert row.last_error is not None
    assert (row.last_error.code, row.last_error.doc_code) == (570, "RT0016")
    assert there.effects().count("step one") == 1
