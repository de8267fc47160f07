"""A signal from outside: an awakeable that was resolved or rejected, or one that the handler awaits by name."""

from __future__ import annotations

from perdure.model.records import DeliverSignal
from perdure.partition.actions import Controlled
from perdure.partition.lifecycle import signal
from perdure.partition.work import Work


def deliver_signal(work: Work, record: DeliverSignal) -> None:
    """Append it to the journal of its invocation; dropped when that is unknown, finished or not started."""
    outcome = signal(work, record.invocation_id, record.signal_id, record.result)
    work.actions.append(Controlled(outcome))
