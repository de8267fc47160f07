"""What the ingress refuses by itself, with the status and words of each refusal (docs/ingress.md).

Raised before anything is stored. The words are part of the interface: clients of Restate match on their beginnings.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from perdure.model.errors import PerdureError

Source: TypeAlias = Literal["ingress", "invocation"]

SERVICE_PATH = "either /:service-name/:handler or /:object-name/:object-key/:handler"
RESTATE_PATH = (
    "/restate/call/:service/:handler, /restate/send/:service/:handler, /restate/scope/:scope/call/:service/:handler, "
    "/restate/attach/:invocation_id, /restate/output/:invocation_id, or /restate/lookup"
)
AWAKEABLE_PATH = "either /restate/awakeables/:id/resolve or /restate/awakeables/:id/reject"
INVOCATION_PATH = "either " + " or ".join(
    f"/restate/invocation/{named}/{verb}"
    for named in (":invocation_id", ":invocation_target/:idempotency_key")
    for verb in ("output", "attach")
)
WORKFLOW_PATH = "either " + " or ".join(
    f"/restate/workflow/:workflow_name/:workflow_key/{verb}" for verb in ("output", "attach")
)


class RequestRefused(PerdureError):
    """An HTTP request that cannot be accepted as it is."""

    code: ClassVar[str] = "PD0510"

    def __init__(
        self, status: int, message: str, *, source: Source = "ingress", retry_after_s: int | None = None
    ) -> None:
        self.status = status
        self.message = message
        self.source: Source = source
        self.retry_after_s = retry_after_s
        super().__init__(message)


def bad_request(message: str) -> RequestRefused:
    return RequestRefused(400, message)


def bad_path(path: str) -> RequestRefused:
    return bad_request(f"bad path: {path}")


def bad_shape(expected: str) -> RequestRefused:
    return bad_request(f"bad path, expected {expected}")


def not_found() -> RequestRefused:
    return RequestRefused(404, "not found")


def method_not_allowed() -> RequestRefused:
    return RequestRefused(405, "method not allowed")


def body_too_large(limit: int) -> RequestRefused:
    return RequestRefused(413, f"the request body is larger than the limit of {limit} bytes")


def invalid_input(why: str) -> RequestRefused:
    return bad_request(f"input validation error: {why}")


def not_completed() -> RequestRefused:
    return RequestRefused(470, "the invocation exists but has not completed yet")


def unavailable(why: str) -> RequestRefused:
    return RequestRefused(503, why, retry_after_s=1)


def scopes_unsupported() -> RequestRefused:
    return bad_request("scoped invocations require vqueues to be enabled")
