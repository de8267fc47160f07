"""What the node knows beside its tables, in the words of SQL."""

from __future__ import annotations

from perdure.http.local_deployment import LOCAL_PROTOCOL_VERSIONS, LOCAL_REVISION, LOCAL_URI, local_deployment_id
from perdure.http.query.messages import DeploymentFacts, Facts, ServiceFacts
from perdure.model.target import ServiceKind
from perdure.model.version import VERSION
from perdure.node.snapshots import Memory

_KINDS = {
    ServiceKind.SERVICE: "service",
    ServiceKind.VIRTUAL_OBJECT: "virtual_object",
    ServiceKind.WORKFLOW: "workflow",
}


def facts_of(memory: Memory, since_ms: int) -> Facts:
    """`since_ms`: since when the handlers of this process are served."""
    here = None if memory.identity is None else local_deployment_id(memory.identity)
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
            revision, where = LOCAL_REVISION, here
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
        server = f"perdure/{VERSION}"
        deployments.insert(
            0, DeploymentFacts(here, "http", LOCAL_URI, since_ms, *LOCAL_PROTOCOL_VERSIONS, sorted(local), server)
        )
    return Facts(memory.now_ms, memory.attempts, services, deployments)
