"""Every setting of a server that there is: what it means, how it is read, what it is called elsewhere, its default.

`docs/settings.md` is this table for people; a test holds the two together. Where values come from is `settings`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from perdure.cli import restate_names, values
from perdure.cli.values import Address, Raw
from perdure.http.query.limits import Limits
from perdure.model.retry import RetryPolicy
from perdure.node.settings import EngineSettings


@dataclass(frozen=True)
class Setting:
    """One setting. `field` is its name in EngineSettings where that differs; None: the server's own."""

    name: str
    read: Callable[[Raw], object]
    default: object
    help: str
    restate: str | None = None
    show: Callable[[object], str] = values.in_words
    field: str | None = None
    restate_read: Callable[[Raw], object] | None = None
    """How a value under that name is read, where it is written otherwise."""

    @property
    def variable(self) -> str:
        return f"PERDURE_{self.name.upper()}"


def _duration(field: str, help: str, restate: str | None = None) -> Setting:
    return _engine(field.removesuffix("_ms"), values.duration_ms, field, help, restate, values.duration_in_words)


def _cap(of: str, restate: str) -> Setting:
    return _engine(
        f"{of}_max",
        values.or_none("unlimited", values.duration_ms),
        f"{of}_max_ms",
        f"The longest `{of}` that a handler can choose, or `unlimited`.",
        restate,
        values.duration_in_words,
    )


def _size(field: str, help: str, restate: str | None = None) -> Setting:
    return _engine(field, values.size_bytes, field, help, restate, values.size_in_words)


def _count(field: str, help: str, restate: str | None = None) -> Setting:
    return _engine(field, values.whole_number, field, help, restate)


def _engine(
    name: str,
    read: Callable[[Raw], object],
    field: str,
    help: str,
    restate: str | None = None,
    show: Callable[[int], str] | None = None,
) -> Setting:
    """A setting of the engine: its default is the engine's."""
    shown = (lambda value: "unlimited" if value is None else show(cast(int, value))) if show else values.in_words
    return Setting(name, read, getattr(_ENGINE_DEFAULTS, field), help, restate, shown, field)


_ENGINE_DEFAULTS = EngineSettings()
_RETRY = RetryPolicy()
_QUERIES = Limits()


def _shown_duration(value: object) -> str:
    return values.duration_in_words(cast(int, value))


SETTINGS: tuple[Setting, ...] = (
    Setting("apps", values.names, (), "What to run, as MODULE:APP; several with commas."),
    Setting(
        "register", values.names, (), "Addresses of deployments that are registered at the start, once they answer."
    ),
    Setting(
        "data", values.path, Path("perdure-data"), "Data directory; made when it is not there.", "RESTATE_BASE_DIR"
    ),
    Setting(
        "ingress",
        values.address,
        Address("127.0.0.1", 8080),
        "Where calls are taken.",
        "RESTATE_INGRESS__BIND_ADDRESS",
    ),
    _engine(
        "ingress_url",
        str,
        "ingress_url",
        "Where the outside reaches the ingress, for `ctx.awakeable_url`; unset: the address it listens on.",
        "RESTATE_INGRESS__ADVERTISED_ADDRESS",
    ),
    Setting(
        "admin",
        values.address,
        Address("127.0.0.1", 9070),
        "Where the admin API is served.",
        "RESTATE_ADMIN__BIND_ADDRESS",
    ),
    Setting(
        "pg",
        values.or_none("off", values.address),
        None,
        "Where SQL is served to clients of PostgreSQL, without a log-in; unset or `off`: nowhere.",
    ),
    Setting(
        "query_timeout",
        values.duration_ms,
        int(_QUERIES.seconds_max * 1000),
        "How long one SQL query may run.",
        None,
        _shown_duration,
    ),
    Setting(
        "query_memory",
        values.size_bytes,
        _QUERIES.memory_bytes_max,
        "Memory that the process of one SQL query may take.",
        "RESTATE_ADMIN__QUERY_ENGINE__MEMORY_SIZE",
        lambda value: values.size_in_words(cast(int, value)),
    ),
    Setting("queries_max", values.whole_number, _QUERIES.at_once, "SQL queries that run at once; 1000 more may wait."),
    _count(
        "partitions",
        "Number of partitions, fixed when the data directory is made; unset: what it has, else 1.",
        "RESTATE_DEFAULT_NUM_PARTITIONS",
    ),
    _engine(
        "durability",
        values.one_of("fsync", "os"),
        "durability",
        "`fsync`: an acknowledged call survives power loss; `os`: it survives the process, not the machine.",
    ),
    Setting(
        "shutdown_grace",
        values.duration_ms,
        10_000,
        "How long running steps may still take when the server is asked to stop.",
        "RESTATE_SHUTDOWN_TIMEOUT",
        _shown_duration,
    ),
    Setting(
        "log_level",
        values.one_of("debug", "info", "warning", "error"),
        "info",
        "What is written to stderr.",
        "RESTATE_LOG_FILTER",
        restate_read=restate_names.log_level,
    ),
    Setting(
        "log_format",
        values.one_of("text", "json"),
        "text",
        "Lines for people, or one JSON object a line.",
        "RESTATE_LOG_FORMAT",
        restate_read=restate_names.log_format,
    ),
    Setting(
        "retry_initial_interval",
        values.duration_ms,
        _RETRY.initial_interval_ms,
        "Wait before the second attempt of an invocation whose handler names no policy.",
        "RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL",
        _shown_duration,
    ),
    Setting(
        "retry_factor",
        values.number,
        _RETRY.factor,
        "How much longer each next wait is.",
        "RESTATE_DEFAULT_RETRY_POLICY__EXPONENTIATION_FACTOR",
    ),
    Setting(
        "retry_max_interval",
        values.duration_ms,
        _RETRY.max_interval_ms,
        "The longest wait.",
        "RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL",
        _shown_duration,
    ),
    Setting(
        "retry_max_attempts",
        values.or_none("unlimited", values.whole_number),
        _RETRY.max_attempts,
        "Attempts in all before giving up, or `unlimited`.",
        "RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS",
        lambda value: "unlimited" if value is None else str(value),
    ),
    Setting(
        "retry_on_max_attempts",
        values.one_of("pause", "kill"),
        _RETRY.on_max_attempts,
        "What giving up means: wait for a person, or end with the last error.",
        "RESTATE_DEFAULT_RETRY_POLICY__ON_MAX_ATTEMPTS",
    ),
    _count(
        "interruptions_max",
        "Deaths of the process under one invocation, without progress between, before it is paused.",
    ),
    _duration(
        "inactivity_timeout_ms",
        "An attempt that waits this long leaves memory.",
        "RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT",
    ),
    _duration(
        "abort_timeout_ms",
        "How long running steps of an attempt that is to end may still take.",
        "RESTATE_WORKER__INVOKER__ABORT_TIMEOUT",
    ),
    _duration(
        "journal_retention_ms",
        "How long the journal of a finished invocation is kept; also its result, unless another retention is for that.",
        "RESTATE_DEFAULT_JOURNAL_RETENTION",
    ),
    _duration(
        "idempotency_retention_ms",
        "How long the result of a request from outside is kept, and of a call with an idempotency key.",
        "RESTATE_DEFAULT_IDEMPOTENCY_RETENTION",
    ),
    _duration(
        "workflow_completion_retention_ms",
        "How long the result of a workflow run is kept.",
        "RESTATE_DEFAULT_WORKFLOW_COMPLETION_RETENTION",
    ),
    _cap("journal_retention", "RESTATE_MAX_JOURNAL_RETENTION"),
    _cap("idempotency_retention", "RESTATE_MAX_IDEMPOTENCY_RETENTION"),
    _cap("workflow_completion_retention", "RESTATE_MAX_WORKFLOW_COMPLETION_RETENTION"),
    _engine(
        "retry_attempts_max",
        values.or_none("unlimited", values.whole_number),
        "retry_attempts_max",
        "The most attempts that a handler's own policy can have, or `unlimited`.",
        "RESTATE_MAX_RETRY_POLICY_MAX_ATTEMPTS",
        str,
    ),
    _engine(
        "retention_bytes_max",
        values.or_none("unlimited", values.size_bytes),
        "retention_bytes_max",
        "Bytes of finished invocations that are kept, oldest dropped first, or `unlimited`.",
        None,
        values.size_in_words,
    ),
    _duration(
        "cleanup_interval_ms", "How often what is past its retention is dropped.", "RESTATE_WORKER__CLEANUP_INTERVAL"
    ),
    _duration("checkpoint_interval_ms", "How often the tables are written from memory."),
    _size("layer_bytes_max", "Table changes collected in memory before a checkpoint is due."),
    _size("segment_bytes", "Size of a full log segment."),
    _count(
        "concurrent_attempts_max",
        "Attempts in memory at once; further ones wait their turn.",
        "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT",
    ),
    _size(
        "idle_attempts_bytes_max",
        "Memory of attempts that only wait, as estimated; beyond it those that have waited longest leave memory.",
    ),
    _count("inbox_length_max", "Invocations that may wait for one key; one more is refused."),
    _size("body_bytes_max", "Largest request body (413 beyond it).", "RESTATE_INGRESS__REQUEST_SIZE_LIMIT"),
    _count("step_threads", "Threads for `def` steps."),
    _count("step_processes", 'Worker processes for steps with `pool="process"`; unset: one per core.'),
    _duration(
        "loop_stall_ms", "Code that blocks the server's loop for this long is named in the log; `0s`: not looked for."
    ),
    _duration(
        "deployment_connect_timeout_ms",
        "How long a connection to a deployment may take to come about.",
        "RESTATE_WORKER__INVOKER__CONNECT_TIMEOUT",
    ),
    _duration(
        "deployment_ping_interval_ms",
        "Without a byte from a deployment for this long, while attempts run there, it is asked whether it is still there.",
        "RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_INTERVAL",
    ),
    _duration(
        "deployment_ping_timeout_ms",
        "How long it may take to answer that.",
        "RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_TIMEOUT",
    ),
    Setting(
        "request_identity_private_key_pem_file",
        values.path,
        None,
        "An Ed25519 key (PKCS#8, PEM) that requests to deployments are signed with; unset: they are not.",
        "RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE",
        field="request_identity_private_key_pem_file",
    ),
    Setting(
        "service_protocol_v7",
        values.switch,
        False,
        "Speak version 7 of the service protocol with deployments that have it; otherwise 6 at most.",
        "RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7",
        field="service_protocol_v7",
    ),
    Setting(
        "always_replay",
        values.switch,
        False,
        "For tests: replay a handler at every wait, to find those that do not replay.",
        None,
        field="always_replay",
    ),
    Setting("dev", values.switch, False, "Check more, and flag what a handler should not do.", None, field="dev"),
)
