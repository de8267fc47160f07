"""The retry policy of an invocation, as an author writes it; what is left out comes from the service, the app, the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from perdure.model.retry import RetryChoices


@dataclass(slots=True)
class InvocationRetryPolicy:
    """Delays grow from `initial_interval` by `exponentiation_factor` up to `max_interval`; after `max_attempts` in all,
    the invocation is paused or killed."""

    initial_interval: timedelta | None = None
    exponentiation_factor: float | None = None
    max_interval: timedelta | None = None
    max_attempts: int | None = None
    on_max_attempts: Literal["pause", "kill"] | None = None


def retry_choices(policy: InvocationRetryPolicy | None) -> RetryChoices:
    """As engines take it."""
    if policy is None:
        return RetryChoices()
    return RetryChoices(
        initial_interval_ms=_ms(policy.initial_interval),
        factor=policy.exponentiation_factor,
        max_interval_ms=_ms(policy.max_interval),
        max_attempts=policy.max_attempts,
        on_max_attempts=policy.on_max_attempts,
    )


def _ms(delta: timedelta | None) -> int | None:
    return None if delta is None else delta // timedelta(milliseconds=1)
