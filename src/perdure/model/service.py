"""What the engine knows of a service and its handlers, wherever they run."""

from __future__ import annotations

import msgspec

from perdure.model.retry import RetryPolicy
from perdure.model.target import HandlerKind, ServiceKind

DAY_MS = 24 * 3600 * 1000


class PayloadRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler takes or gives. `content_type` None: body and content type must be empty."""

    content_type: str | None = "*/*"
    required: bool = False
    json_schema: object | None = None
    set_content_type_if_empty: bool = False


class HandlerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A handler as resolved: service-level settings and defaults are already merged in. Units: milliseconds."""

    name: str
    kind: HandlerKind
    input: PayloadRules = PayloadRules()
    output: PayloadRules = PayloadRules(content_type="application/json")
    public: bool = True
    lazy_state: bool = False
    inactivity_timeout_ms: int = 60_000
    abort_timeout_ms: int = 600_000
    journal_retention_ms: int = DAY_MS
    idempotency_retention_ms: int = DAY_MS
    workflow_completion_retention_ms: int = DAY_MS
    retry: RetryPolicy = RetryPolicy()
    documentation: str | None = None
    metadata: dict[str, str] | None = None

    def completion_retention_ms(self, *, idempotent: bool) -> int:
        """How long the result of one invocation is kept (docs/semantics.md, retention)."""
        if self.kind is HandlerKind.RUN:
            return self.workflow_completion_retention_ms
        return self.idempotency_retention_ms if idempotent else self.journal_retention_ms


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: ServiceKind
    handlers: dict[str, HandlerSpec]
    public: bool = True
    documentation: str | None = None
    metadata: dict[str, str] | None = None
