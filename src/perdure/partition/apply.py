"""`apply`: the state machine. One table says which transition a record runs; docs/state-machine.md is made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from perdure.model import records
from perdure.model.records import Record
from perdure.partition.actions import Action
from perdure.partition.messages import drain
from perdure.partition.transitions.attempts import attempt_failed, interrupted, suspended
from perdure.partition.transitions.control import cancel, kill, pause, purge, purge_journal, resume
from perdure.partition.transitions.delivery import deliver, outbox_delivered
from perdure.partition.transitions.deployments import drop_deployment, put_deployment
from perdure.partition.transitions.forget import forget
from perdure.partition.transitions.invoke import invoke
from perdure.partition.transitions.lead import lead
from perdure.partition.transitions.progress import progress
from perdure.partition.transitions.restart import restart
from perdure.partition.transitions.signals import deliver_signal
from perdure.partition.transitions.state_changes import modify_state
from perdure.partition.transitions.timers import timers_fired
from perdure.partition.work import Work
from perdure.store.tables import Tables

TRANSITIONS: Mapping[type[Record], Callable[[Work, Any], None]] = MappingProxyType(
    {
        records.Lead: lead,
        records.Invoke: invoke,
        records.Progress: progress,
        records.AttemptFailed: attempt_failed,
        records.Suspended: suspended,
        records.Interrupted: interrupted,
        records.TimersFired: timers_fired,
        records.DeliverSignal: deliver_signal,
        records.Deliver: deliver,
        records.OutboxDelivered: outbox_delivered,
        records.Forget: forget,
        records.Kill: kill,
        records.Cancel: cancel,
        records.Resume: resume,
        records.Pause: pause,
        records.Purge: purge,
        records.PurgeJournal: purge_journal,
        records.Restart: restart,
        records.ModifyState: modify_state,
        records.PutDeployment: put_deployment,
        records.DropDeployment: drop_deployment,
    }
)


def apply(record: Record, tables: Tables, partitions: int = 1) -> list[Action]:
    """Apply one durable record to the tables of its partition.

    Total and deterministic: a record that no longer fits (a stale epoch, a finished invocation) changes nothing.
    `partitions` is the number of partitions of the data directory, by which messages find their way.
    """
    meta = tables.edit_meta()
    if record.at_ms > meta.now_ms:
        meta.now_ms = record.at_ms
    work = Work(tables, partitions, meta.now_ms)
    TRANSITIONS[type(record)](work, record)
    if work.local:
        drain(work)
    return work.actions
