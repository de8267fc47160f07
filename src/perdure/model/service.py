"""What the engine knows of a service and its handlers, wherever they run."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from perdure.model.retry import RetryChoices, RetryPolicy
from perdure.model.target import HandlerKind, ServiceKind

DAY_MS = 24 * 3600 * 1000


class PayloadRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler takes or gives. `content_type` None: body and content type must be empty."""

    content_type: str | None = "*/*"
    required: bool = False
    json_schema: object | None = None
    set_content_type_if_empty: bool = False


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """What an author chose for a handler, a service or an app; None: not chosen there. Units: milliseconds.

    What is more specific wins, field by field: handler, service, app, and at last the settings of the node.
    """

    public: bool | None = None
    lazy_state: bool | None = None
    inactivity_timeout_ms: int | None = None
    abort_timeout_ms: int | None = None
    journal_retention_ms: int | None = None
    idempotency_retention_ms: int | None = None
    workflow_completion_retention_ms: int | None = None
    retry: RetryChoices = RetryChoices()

    def before(self, general: Policies) -> Policies:
        """Both together; these win over the more general ones."""
        return msgspec.structs.replace(general, **self.chosen(), retry=self.retry.before(general.retry))

    def beyond(self, general: Policies) -> Policies:
        """What these choose otherwise than the more general ones, which may be merged into them."""
        own = {name: value for name, value in self.chosen().items() if value != getattr(general, name)}
        return Policies(**cast("Any", own), retry=self.retry.beyond(general.retry))

    def chosen(self) -> dict[str, object]:
        """By name what was chosen, but for `retry`, which is merged field by field."""
        return {
            name: value
            for name in self.__struct_fields__
            if name != "retry" and (value := getattr(self, name)) is not None
        }


class HandlerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A handler. Once `resolved`, the fields hold what counts, whoever said it. Units: milliseconds."""

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
    chosen: Policies = Policies()
    """What its author said, the service's and the app's merged in."""

    def resolved(self, defaults: HandlerSpec) -> HandlerSpec:
        """With what was chosen, and the policies of `defaults` where nothing was."""
        policies = {name: getattr(defaults, name) for name in Policies.__struct_fields__} | self.chosen.chosen()
        return msgspec.structs.replace(self, **policies | {"retry": self.chosen.retry.over(defaults.retry)})

    def retention_ms(self, *, idempotent: bool) -> tuple[int, int]:
        """How long the result of one invocation is kept, and its journal (docs/semantics.md, retention)."""
        journal_ms = self.journal_retention_ms
        if self.kind is HandlerKind.RUN:
            result_ms = self.workflow_completion_retention_ms
        else:
            result_ms = self.idempotency_retention_ms if idempotent else journal_ms
        return result_ms, min(journal_ms, result_ms)


class ServiceSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: ServiceKind
    handlers: dict[str, HandlerSpec]
    public: bool = True
    documentation: str | None = None
    metadata: dict[str, str] | None = None
    chosen: Policies = Policies()
    """What was said of the service as a whole, the app's merged in."""
