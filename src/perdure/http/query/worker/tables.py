"""Which table is made of what."""

from __future__ import annotations

import pyarrow as pa

from perdure.http.query.messages import Need, Rows
from perdure.http.query.worker import invocations
from perdure.http.query.worker.arrow import batch
from perdure.http.query.worker.building import Known, Table
from perdure.http.query.worker.journals import EventTable, JournalTable
from perdure.http.query.worker.keys import PromiseTable, StateTable


def table_for(need: Need, known: Known) -> Table:
    if need.table in invocations.COLUMNS:
        return invocations.InvocationTable(need, known)
    match need.table:
        case "sys_journal":
            return JournalTable(need, known)
        case "sys_journal_events":
            return EventTable(need, known)
        case "state":
            return StateTable(need)
        case "sys_promise":
            return PromiseTable(need)
        case _:
            return FactTable(need, known)


class FactTable:
    """A table of which the facts say everything; one without content has no rows."""

    def __init__(self, need: Need, known: Known) -> None:
        self._table = need.table
        self._known = known

    def take(self, rows: Rows) -> None:
        raise AssertionError(f"{self._table} is not made of stored rows")

    def finish(self) -> list[pa.RecordBatch]:
        facts = self._known.facts
        match self._table:
            case "sys_service":
                services = facts.services
                columns: dict[str, list[object]] = {
                    "name": [each.name for each in services],
                    "revision": [each.revision for each in services],
                    "public": [each.public for each in services],
                    "ty": [each.kind for each in services],
                    "deployment_id": [each.deployment_id for each in services],
                }
            case "sys_deployment":
                deployments = facts.deployments
                columns = {
                    "id": [each.id for each in deployments],
                    "ty": [each.kind for each in deployments],
                    "endpoint": [each.endpoint for each in deployments],
                    "created_at": [each.created_at_ms for each in deployments],
                    "min_service_protocol_version": [each.min_protocol_version for each in deployments],
                    "max_service_protocol_version": [each.max_protocol_version for each in deployments],
                    "services": [each.services for each in deployments],
                }
            case _:
                return []
        return [batch(self._table, columns, len(next(iter(columns.values()))))]
