"""What counts as a step that ran again and should not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.testing.steps import StepLine, StepTrace, judge


def line(at_ms: int, position: int, invocation_id: str = "inv_1a") -> StepLine:
    return StepLine(at_ms, invocation_id, position, ())


def test_each_step_once_is_right() -> None:
    assert judge([line(1, 0), line(2, 1), line(2, 0, "inv_1b")], {}) == (0, [])


def test_a_repeat_before_its_result_was_recorded_is_allowed() -> None:
    assert judge([line(1, 0), line(5, 0), line(6, 1)], {"inv_1a.0": 5}) == (1, [])


def test_a_repeat_after_its_result_was_recorded_is_wrong() -> None:
    repeated, wrong = judge([line(1, 0), line(7, 0)], {"inv_1a.0": 5})
    assert (repeated, wrong) == (0, ["inv_1a.0 ran again 2 ms after its result was recorded"])


def test_a_repeat_after_a_later_step_is_wrong_without_the_log() -> None:
    repeated, wrong = judge([line(1, 0), line(2, 1), line(7, 0)], {})
    assert (repeated, wrong) == (0, ["inv_1a.0 ran again after step 1 of its invocation"])


def test_steps_of_other_invocations_do_not_count() -> None:
    assert judge([line(1, 0), line(2, 1, "inv_1b"), line(3, 0)], {"inv_1b.0": 1}) == (1, [])


def test_the_trace_gives_back_what_was_written_and_leaves_out_half_a_line(tmp_path: Path) -> None:
    trace = StepTrace(tmp_path / "trace.txt")
    assert trace.lines() == []
    assert trace.step("inv_1a", 3, "mail", "ann") == "inv_1a.3"
    with trace.path.open("a") as file:
        file.write("17 inv_1b 4 ha")
    (only,) = trace.lines()
    assert (only.invocation_id, only.position, only.words) == ("inv_1a", 3, ("mail", "ann"))
    assert only.at_ms == pytest.approx(trace.path.stat().st_mtime * 1000, abs=5_000)
