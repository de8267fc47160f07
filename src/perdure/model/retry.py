"""Retry policies: how long to wait before the next attempt, and when to give up."""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Policy of a whole invocation. Units: intervals in milliseconds; `max_attempts` counts all attempts, None = no end.

    Source: Restate's defaults (docs/semantics.md, retries).
    """

    initial_interval_ms: int = 500
    factor: float = 2.0
    max_interval_ms: int = 60_000
    max_attempts: int | None = 70
    on_max_attempts: Literal["pause", "kill"] = "pause"

    def delay_ms(self, failures: int, jitter: float) -> int | None:
        """Wait before the next attempt after `failures` failed ones (1 = the first just failed), or None: give up.

        `jitter` is drawn by the caller from [0, 1) and adds up to a third.
        """
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        # The exponent is bounded so that a long row of failures cannot overflow a float.
        base = min(self.initial_interval_ms * self.factor ** min(failures - 1, 64), self.max_interval_ms)
        return int(base * (1 + jitter / 3))


class RetryChoices(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a `RetryPolicy` that somebody chose; None: not chosen, so whoever is asked next decides."""

    initial_interval_ms: int | None = None
    factor: float | None = None
    max_interval_ms: int | None = None
    max_attempts: int | None = None
    on_max_attempts: Literal["pause", "kill"] | None = None

    def over(self, policy: RetryPolicy) -> RetryPolicy:
        """`policy`, except where something was chosen."""
        return msgspec.structs.replace(policy, **_chosen(self))

    def before(self, general: RetryChoices) -> RetryChoices:
        """Both together; these win over the more general ones, field by field."""
        return msgspec.structs.replace(general, **_chosen(self))

    def beyond(self, general: RetryChoices) -> RetryChoices:
        """What these choose otherwise than the more general ones."""
        own = {name: value for name, value in _chosen(self).items() if value != getattr(general, name)}
        return RetryChoices(**cast("Any", own))


def _chosen(choices: RetryChoices) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(choices).items() if value is not None}


class StepRetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Policy of one step; when it gives up, the step's result is a terminal failure.

    Units: milliseconds; `max_attempts` counts all attempts, `max_duration_ms` runs from the step's first failure.
    """

    initial_interval_ms: int = 50
    factor: float = 2.0
    max_interval_ms: int = 10_000
    max_attempts: int | None = None
    max_duration_ms: int | None = None

    @property
    def bounded(self) -> bool:
        """False: the step is retried under the limit of its invocation's policy."""
        return self.max_attempts is not None or self.max_duration_ms is not None

    def delay_ms(self, failures: int, since_first_ms: int) -> int | None:
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        if self.max_duration_ms is not None and since_first_ms >= self.max_duration_ms:
            return None
        return int(min(self.initial_interval_ms * self.factor ** min(failures - 1, 64), self.max_interval_ms))
