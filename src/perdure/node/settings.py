"""What can be set about an engine, with the defaults (docs/settings.md lists them for people).

Plain data and its bounds. Where a value came from (a flag, a variable, a file) is the business of whoever fills this in;
the engine only reads it. Units end the names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from perdure.model import limits
from perdure.model.errors import PerdureError
from perdure.model.retry import RetryPolicy
from perdure.model.service import DAY_MS
from perdure.wire.messages import VERSION_DEFAULT_MAX, VERSION_MAX


class BadSetting(PerdureError):
    """A setting has a value it cannot have. `setting` is its name, `source` the flag, variable or file that gave it."""

    code: ClassVar[str] = "PD0501"

    def __init__(self, setting: str, why: str, source: str | None = None) -> None:
        self.setting = setting
        self.why = why
        place = f" (from {source})" if source else ""
        super().__init__(f"the setting '{setting}'{place} {why}.", "See docs/settings.md.")


@dataclass(kw_only=True)
class EngineSettings:
    """Settings of one engine. Errors: BadSetting when a value is out of its bounds."""

    data: Path | None = None
    """Data directory; None: everything in memory, gone with the process."""
    partitions: int | None = None
    """Fixed when a data directory is made; None: what the directory has, else 1."""
    durability: Literal["fsync", "os"] = "fsync"
    """`fsync` survives the machine, `os` only the process."""

    ingress_url: str | None = None
    """Where the outside reaches the ingress, for `ctx.awakeable_url`; None: what opens the port may say it."""

    default_retry: RetryPolicy = field(default_factory=RetryPolicy)
    """For handlers that name no policy of their own."""
    inactivity_timeout_ms: int = 60_000
    """An attempt that waits this long leaves memory; it is replayed when there is something to do."""
    abort_timeout_ms: int = 600_000
    """How long running steps of an attempt that is to end may still take."""
    interruptions_max: int = 70
    """Times the process may die under an invocation that gains nothing in between; then it is paused."""

    journal_retention_ms: int = DAY_MS
    idempotency_retention_ms: int = DAY_MS
    workflow_completion_retention_ms: int = DAY_MS
    journal_retention_max_ms: int | None = None
    idempotency_retention_max_ms: int | None = None
    workflow_completion_retention_max_ms: int | None = None
    """The longest that a handler can choose; None: as long as it likes."""
    retry_attempts_max: int | None = None
    """The most attempts that the policy of a handler can have; None: as many as it likes."""
    retention_bytes_max: int | None = None
    """Bytes of finished invocations that are kept; the oldest go first. None: only time counts."""
    cleanup_interval_ms: int = 1_000

    checkpoint_interval_ms: int = limits.CHECKPOINT_INTERVAL_MS
    layer_bytes_max: int = limits.LAYER_BYTES_MAX
    segment_bytes: int = limits.SEGMENT_BYTES

    concurrent_attempts_max: int = limits.CONCURRENT_ATTEMPTS_MAX
    idle_attempts_bytes_max: int = limits.IDLE_ATTEMPTS_BYTES_MAX
    """Memory (as estimated) of attempts that only wait; beyond it the one that has waited longest leaves memory."""
    inbox_length_max: int = limits.INBOX_LENGTH_MAX
    body_bytes_max: int = limits.BODY_BYTES_MAX
    step_threads: int = 32
    """Threads for `def` steps."""
    step_processes: int | None = None
    """Worker processes for steps with `pool="process"`, started when needed; None: one per core."""

    loop_stall_ms: int = 500
    """Code that keeps the node's loop from everything else for this long is named in the log; 0: not looked for."""

    deployment_connect_timeout_ms: int = 10_000
    """How long a connection to a deployment may take to come about."""
    deployment_ping_interval_ms: int = 40_000
    """Without a byte from a deployment for this long, while attempts run there, it is asked whether it is still there."""
    deployment_ping_timeout_ms: int = 20_000
    """How long it may take to answer that."""
    request_identity_private_key_pem_file: Path | None = None
    """An Ed25519 key (PKCS#8, PEM) that requests to deployments are signed with; None: they are not."""
    service_protocol_v7: bool = False
    """Speak version 7 of the service protocol with deployments that have it; else 6 at most."""

    always_replay: bool = False
    """For tests: an attempt leaves memory at every wait, so that everything behind one is reached by replay."""
    dev: bool = False
    """Check invariants after each record and flag blocking or non-deterministic calls in handlers."""

    @property
    def protocol_version_max(self) -> int:
        """Of the service protocol, the highest version that is spoken."""
        return VERSION_MAX if self.service_protocol_v7 else VERSION_DEFAULT_MAX

    def __post_init__(self) -> None:
        if self.durability not in ("fsync", "os"):
            raise BadSetting("durability", f"is {self.durability!r}; it can be 'fsync' or 'os'")
        if self.partitions is not None:
            self._within("partitions", 1, limits.PARTITIONS_MAX)
        if self.ingress_url is not None:
            if not self.ingress_url.startswith(("http://", "https://")):
                raise BadSetting("ingress_url", f"is {self.ingress_url!r}; it must begin with http:// or https://")
            self.ingress_url = self.ingress_url.rstrip("/")
        self._within("body_bytes_max", 1, limits.BODY_BYTES_MAX)
        self._within("segment_bytes", limits.SEGMENT_FIRST_BYTES, None)
        if self.step_processes is not None:
            self._within("step_processes", 1, None)
        if self.retention_bytes_max is not None:
            self._within("retention_bytes_max", 0, None)
        if self.retry_attempts_max is not None:
            self._within("retry_attempts_max", 1, None)
        for name in _AT_LEAST_ZERO:
            self._within(name, 0, None)
        for name in _AT_LEAST_ONE:
            self._within(name, 1, None)

    def _within(self, name: str, least: int, most: int | None) -> None:
        value: int = getattr(self, name)
        if value < least:
            raise BadSetting(name, f"is {value}; it must be at least {least}")
        if most is not None and value > most:
            raise BadSetting(name, f"is {value}; it can be at most {most}")


_AT_LEAST_ZERO = (
    "idle_attempts_bytes_max",
    "loop_stall_ms",
    "inactivity_timeout_ms",
    "abort_timeout_ms",
    "journal_retention_ms",
    "idempotency_retention_ms",
    "workflow_completion_retention_ms",
)
_AT_LEAST_ONE = (
    "deployment_connect_timeout_ms",
    "deployment_ping_interval_ms",
    "deployment_ping_timeout_ms",
    "interruptions_max",
    "cleanup_interval_ms",
    "checkpoint_interval_ms",
    "layer_bytes_max",
    "concurrent_attempts_max",
    "inbox_length_max",
    "step_threads",
)
