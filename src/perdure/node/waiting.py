"""What an invocation waits for, in words and in data: the first question of whoever looks at one that does not end."""

from __future__ import annotations

import msgspec

from perdure.model.ids import format_invocation_id
from perdure.model.journal import Awaiting
from perdure.node.timeline import Moment, signal_words
from perdure.store.rows import Invocation, Status
from perdure.store.tables import Tables


class Wait(msgspec.Struct, omit_defaults=True):
    """One thing of which any lets it go on. Units: Unix time in ms."""

    kind: str
    """`step`, `sleep`, `call`, `promise`, `attach`, `awakeable`, `signal`, `start`, `key`, `retry`, `person`, `room`."""
    text: str
    since_ms: int | None = None
    until_ms: int | None = None
    invocation_id: str | None = None
    """The invocation whose end, or key, it waits for."""
    name: str | None = None
    """Of a signal; the id of an awakeable: what has to be completed."""


_KINDS = {"run": "step"}


def waits_for(row: Invocation, moments: list[Moment], awaiting: Awaiting | None, tables: Tables) -> list[Wait]:
    """Empty for one that runs or has ended. `awaiting`: what the attempt in memory says, if there is one."""
    match row.status:
        case Status.COMPLETED:
            return []
        case Status.SCHEDULED:
            return [Wait("start", "its start", row.created_at_ms, row.execute_at_ms)]
        case Status.INBOXED:
            return [_key(row, tables)]
        case Status.PAUSED:
            return [_person(row)]
        case Status.INVOKED if row.retry_at_ms:
            return [_retry(row)]
        case _:
            return _operations(row, moments, row.awaiting or awaiting)


def _key(row: Invocation, tables: Tables) -> Wait:
    service, key = row.target.service, row.target.key or ""
    queue = tables.key_queue(service, key)
    holder = None if queue is None or queue.holder is None else tables.invocation(queue.holder)
    before = 0 if queue is None else row.inbox_position - queue.head
    text = f"the key '{key}' of {service}" + (f", behind {before} that wait as well" if before else "")
    return Wait("key", text, row.inboxed_at_ms, None, None if holder is None else format_invocation_id(holder.id))


def _person(row: Invocation) -> Wait:
    why = "" if row.last_error is None else f"; its last attempt failed: {row.last_error.message}"
    return Wait("person", f"somebody who resumes, cancels or kills it{why}", row.modified_at_ms)


def _retry(row: Invocation) -> Wait:
    why = "" if row.last_error is None else f"; the last failed: {row.last_error.message}"
    return Wait("retry", f"its next attempt{why}", row.modified_at_ms, row.retry_at_ms)


def _operations(row: Invocation, moments: list[Moment], awaiting: Awaiting | None) -> list[Wait]:
    if awaiting is None:  # it runs; a step may be under way
        return [_operation(moment) for moment in moments if moment.state == "open" and moment.what == "run"]
    by_id = {moment.completion_id: moment for moment in moments if moment.state == "open"}
    waits = [_operation(by_id[each]) for each in awaiting.completions if each in by_id]
    for signal_id in awaiting.signals:
        kind, name = signal_words(row.id, signal_id)
        waits.append(Wait(kind, f"{kind} {name}", row.modified_at_ms, name=name))
    return waits


def _operation(moment: Moment) -> Wait:
    kind = _KINDS.get(moment.what, moment.what)
    text = f"{kind} {moment.subject}".rstrip()
    if moment.failed_tries and moment.error is not None:
        text += f" (failed {moment.failed_tries} times, last: {moment.error.message})"
    return Wait(kind, text, moment.at_ms, moment.until_ms, moment.invocation_id)
