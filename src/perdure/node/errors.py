"""What a node refuses, and why. HTTP and the client translate these; nothing is stored when one is raised."""

from __future__ import annotations

from typing import ClassVar

from perdure.model.errors import PerdureError


class NodeError(PerdureError):
    """`status` is the HTTP-like code of the answer."""

    status: ClassVar[int] = 500


class ServiceNotFound(NodeError):
    code = "PD0301"
    status = 404

    def __init__(self, service: str) -> None:
        super().__init__(f"service '{service}' not found, make sure to register the service before calling it.")


class HandlerNotFound(NodeError):
    code = "PD0302"
    status = 404

    def __init__(self, service: str, handler: str) -> None:
        super().__init__(
            f"the service '{service}' exists, but the handler '{handler}' was not found, "
            "check that the handler exists in the latest registered service version."
        )


class DeploymentNotFound(NodeError):
    code = "PD0320"
    status = 404

    def __init__(self, deployment_id: str) -> None:
        super().__init__(
            f"the deployment '{deployment_id}' is not registered.",
            "List the deployments to see what is; register it again if invocations are pinned to it.",
        )


class ServiceServedHere(NodeError):
    """The app of this process serves it: no deployment takes it over, and nobody changes it from outside."""

    code = "PD0321"
    status = 409

    def __init__(self, service: str, next_step: str) -> None:
        super().__init__(f"the service '{service}' is served by the app of this server itself: {next_step}.")


class ServiceTypeChanged(NodeError):
    code = "META0006"
    status = 409

    def __init__(self, service: str, before: str, now: str) -> None:
        super().__init__(
            f"the service '{service}' was a {before} so far and would become a {now}.",
            "Give it another name, or register it with `breaking` (or `force`) if nothing of the old one is needed.",
        )


class ServicesDiffer(NodeError):
    code = "META0016"
    status = 400

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the deployment cannot be updated: {why}.",
            "Register the new address as a deployment of its own, or update with `overwrite`.",
        )


class InvocationNotFound(NodeError):
    code = "PD0303"
    status = 404

    def __init__(self) -> None:
        super().__init__("invocation not found", "It may be past its retention; list invocations to see what is kept.")


class Overloaded(NodeError):
    code = "PD0304"
    status = 429


class DiskFull(NodeError):
    code = "PD0305"
    status = 507


class NodeStopped(NodeError):
    """The node stops or has failed: the request was not accepted, or its answer can no longer be waited for."""

    code = "PD0306"
    status = 503


class BadRequest(NodeError):
    """The request makes no sense for this target (key missing or not wanted, delay out of range, …)."""

    code = "PD0307"
    status = 400


class ControlRefused(NodeError):
    """cancel, kill, resume, pause or purge does not fit the invocation's status; `status` says how."""

    code = "PD0308"

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.refused_status = status


class ApplyFailed(NodeError):
    """A bug of perdure: the state machine could not apply a record. The node stops; nothing acknowledged is lost."""

    code = "PD0313"


class TooLarge(NodeError):
    """The request with its headers does not fit into a record of the log."""

    code = "PD0314"
    status = 413
