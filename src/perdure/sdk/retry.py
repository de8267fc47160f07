"""The retry policy of an invocation, as an author writes it; what is left out comes from the service, then the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from perdure.model.retry import RetryPolicy


@dataclass(slots=True)
class InvocationRetryPolicy:
    """Delays grow from `initial_interval` by `exponentiation_factor` up to `max_interval`; after `max_attempts` in all,
    the invocation is paused or killed."""

    initial_interval: timedelta | None = None
    exponentiation_factor: float | None = None
    max_interval: timedelta | None = None
    max_attempts: int | None = None
    on_max_attempts: Literal["pause", "kill"] | None = None


def merged_policy(*policies: InvocationRetryPolicy | None) -> RetryPolicy:
    """One policy out of several, the most specific first; field by field, then the engine's defaults."""
    default = RetryPolicy()
    values: dict[str, object] = {
        "initial_interval_ms": default.initial_interval_ms,
        "factor": default.factor,
        "max_interval_ms": default.max_interval_ms,
        "max_attempts": default.max_attempts,
        "on_max_attempts": default.on_max_attempts,
    }
    for policy in reversed(policies):
        if policy is None:
            continue
        given = {
            "initial_interval_ms": _ms(policy.initial_interval),
            "factor": policy.exponentiation_factor,
            "max_interval_ms": _ms(policy.max_interval),
            "max_attempts": policy.max_attempts,
            "on_max_attempts": policy.on_max_attempts,
        }
        values.update({name: value for name, value in given.items() if value is not None})
    return RetryPolicy(**values)  # type: ignore[arg-type]


def _ms(delta: timedelta | None) -> int | None:
    return None if delta is None else delta // timedelta(milliseconds=1)
