"""Where services run: rows of partition 0, as whoever registered them found them."""

from __future__ import annotations

from perdure.model.records import DropDeployment, PutDeployment
from perdure.partition.actions import DeploymentChanged
from perdure.partition.work import Work


def put_deployment(work: Work, record: PutDeployment) -> None:
    """The deployment stands as it says, new or in the place of an earlier row with its id."""
    work.tables.put_deployment(record.deployment)
    work.actions.append(DeploymentChanged(record.deployment.id, record.deployment))


def drop_deployment(work: Work, record: DropDeployment) -> None:
    """The deployment is gone; what is pinned to it fails until it is registered again."""
    work.tables.drop_deployment(record.id)
    work.actions.append(DeploymentChanged(record.id, None))
