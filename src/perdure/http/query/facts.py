"""What the node knows beside its tables, in the words of SQL."""

from __future__ import annotations

from perdure.http.query.messages import DeploymentFacts, Facts, ServiceFacts
from perdure.http.query.pinning import pinned_deployment
from perdure.model.target import ServiceKind
from perdure.model.version import VERSION
from perdure.node.snapshots import Memory

_KINDS = {
    ServiceKind.SERVICE: "service",
    ServiceKind.VIRTUAL_OBJECT: "virtual_object",
    ServiceKind.WORKFLOW: "workflow",
}
IN_PROCESS = "in-process://local/"
_PROTOCOL = (5, 6)


def facts_of(memory: Memory, since_ms: int) -> Facts:
    """`since_ms`: since when the handlers of this process are served."""
    here = pinned_deployment(memory.identity, remote=False)
    latest = {
        name: (revision, deployment.id)
        for deployment in sorted(memory.deployments, key=lambda each: each.created_at_ms)
        for name, revision in deployment.revisions.items()
    }
    services: list[ServiceFacts] = []
    local: list[str] = []
    for spec in memory.services:
        if spec.name in memory.local and here is not None:
            local.append(spec.name)
            revision, where = 1, here
        else:
            revision, where = latest[spec.name]
        services.append(ServiceFacts(spec.name, revision, spec.public, _KINDS[spec.kind], where))
    deployments = [
        DeploymentFacts(
            each.id,
            "http",
            each.uri,
            each.created_at_ms,
            each.min_protocol_version,
            each.max_protocol_version,
            sorted(each.revisions),
            each.sdk_version,
        )
        for each in memory.deployments
    ]
    if here is not None:
        deployments.insert(
            0, DeploymentFacts(here, "http", IN_PROCESS, since_ms, *_PROTOCOL, sorted(local), f"perdure/{VERSION}")
        )
    return Facts(memory.now_ms, memory.attempts, services, deployments)
