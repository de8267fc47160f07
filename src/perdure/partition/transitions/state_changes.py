"""A change of state from outside: it waits for its turn like an exclusive handler, and takes no time when it has it."""

from __future__ import annotations

from perdure.model.records import ModifyState
from perdure.partition.actions import Control, Controlled
from perdure.partition.lifecycle import change_state
from perdure.partition.work import Work
from perdure.store.rows import StateChange


def modify_state(work: Work, record: ModifyState) -> None:
    """Replace the state of the key: at once when nobody holds the key, else in its place of the key's inbox."""
    service, key = record.service, record.key
    change = StateChange(record.new_state, record.version)
    queue = work.tables.key_queue(service, key)
    if queue is None:
        change_state(work, service, key, change)
        work.actions.append(Controlled(Control.DONE))
        return
    queue = work.tables.edit_key_queue(service, key)
    queue.changes = {**(queue.changes or {}), queue.tail: change}
    queue.tail += 1
    work.tables.add_bytes(sum(len(value) for value in change.new_state.values()))
    work.actions.append(Controlled(Control.APPENDED))
