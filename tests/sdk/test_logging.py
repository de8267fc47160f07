"""Log lines of a handler's body appear once, not once per replay."""

from __future__ import annotations

import logging

import pytest

import perdure
from perdure import Context

from .driver import drive, replayed

logger = perdure.getLogger("tests.sdk.quiet")
plain = logging.getLogger("tests.sdk.plain")
below = plain.getChild("below")


async def test_lines_of_replayed_work_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Context) -> None:
        logger.info("started")
        await ctx.run("step", lambda: logger.info("in the step"))
        logger.info("after the step")

    with caplog.at_level(logging.INFO, "tests.sdk.quiet"):
        driver = drive(handler)
        assert caplog.messages == ["started", "in the step", "after the step"]
        caplog.clear()
        replayed(driver)
        assert caplog.messages == ["after the step"]


async def test_so_are_those_of_any_logger_and_of_those_below(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: Context) -> None:
        plain.info("started")
        below.info("below")
        await ctx.run("step", lambda: None)

    with caplog.at_level(logging.INFO, "tests.sdk.plain"):
        driver = drive(handler)
        assert caplog.messages == ["started", "below"]
        caplog.clear()
        replayed(driver)
        assert caplog.messages == []


async def test_what_perdure_says_of_a_handler_is_heard_while_it_is_replayed(caplog: pytest.LogCaptureFixture) -> None:
    """Under a filter too, as `perdure serve` once had: it was the only one to see a bare `except:` in a dropped attempt."""
    caplog.handler.addFilter(perdure.RestateLoggingFilter())

    async def handler(ctx: Context) -> None:
        logging.getLogger("perdure.handler").warning("of the handler")
        plain.warning("by the handler")
        await ctx.run("step", lambda: None)

    driver = drive(handler)
    caplog.clear()
    replayed(driver)
    assert caplog.messages == ["of the handler"]


async def test_lines_outside_handlers_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tests.sdk.quiet"):
        logger.info("outside")
    assert caplog.messages == ["outside"]


async def test_one_filter_per_logger() -> None:
    assert perdure.getLogger("tests.sdk.quiet") is logger
    assert len(logger.filters) == 1
    assert perdure.logging.RestateLoggingFilter is perdure.RestateLoggingFilter
