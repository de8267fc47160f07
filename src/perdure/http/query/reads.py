"""Which stored rows a query needs, read from a snapshot: a few by their keys where the query names them, else the table.

What a need does not narrow down is read whole; nothing is decoded here. Runs on a thread of the executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal

from perdure.http.query.messages import Need, Rows
from perdure.model.ids import BadId, parse_invocation_id
from perdure.store.rows import Status
from perdure.store.snapshot import Chunk, Snapshot

_OF_STATUS = {
    "pending": Status.INBOXED,
    "inboxed": Status.INBOXED,
    "scheduled": Status.SCHEDULED,
    "invoked": Status.INVOKED,
    "running": Status.INVOKED,
    "backing-off": Status.INVOKED,
    "ready": Status.INVOKED,
    "suspended": Status.SUSPENDED,
    "paused": Status.PAUSED,
    "completed": Status.COMPLETED,
}
_WHOLE_STATUSES = {
    "sys_invocation": frozenset({"pending", "scheduled", "suspended", "paused", "completed"}),
    "sys_invocation_status": frozenset({"inboxed", "scheduled", "invoked", "suspended", "paused", "completed"}),
}
"""The names that stand for all invocations with a stored status, in the tables that have such a column."""


def rows_for(need: Need, snapshot: Snapshot) -> Iterator[Rows]:
    """Errors: StoreUnreadable, RowCorrupt."""
    match need.table:
        case "sys_invocation" | "sys_invocation_status":
            yield from _rows(need, "invocation", _limited(_invocations(need, snapshot), need.limit))
        case "sys_journal_events":
            yield from _events(need, snapshot)
        case "sys_invocation_state":
            yield from _rows(need, "invocation", _invocations(need, snapshot, (Status.INVOKED,)))
        case "sys_journal":
            yield from _journals(need, snapshot)
        case "sys_inbox":
            service, key = _one(need, "service_name"), _one(need, "service_key")
            yield from _rows(need, "invocation", _limited(snapshot.inboxed(service, key), need.limit))
        case "sys_keyed_service_status":
            service, key = _one(need, "service_name"), _one(need, "service_key")
            yield from _rows(need, "invocation", _limited(snapshot.holders(service, key), need.limit))
        case "state":
            service = _one(need, "service_name", "service")
            key = _one(need, "service_key", "service_key_utf8")
            yield from _rows(need, "state", _limited(snapshot.states(service, key), need.limit))
        case "sys_promise":
            service, key = _one(need, "service_name"), _one(need, "service_key")
            yield from _rows(need, "promise", _limited(snapshot.promises(service, key), need.limit))


def _invocations(need: Need, snapshot: Snapshot, among: tuple[Status, ...] = tuple(Status)) -> Iterator[Chunk]:
    ids = _ids(need)
    if ids is not None:
        return snapshot.invocations_with_ids(ids)
    return snapshot.invocations([status for status in among if status in _statuses(need)])


def _statuses(need: Need) -> set[Status]:
    if "status" in need.wanted:
        return {_OF_STATUS[name] for name in need.wanted["status"] if name in _OF_STATUS}
    whole = _WHOLE_STATUSES.get(need.table, frozenset())
    gone = {_OF_STATUS[name] for name in need.unwanted.get("status", ()) if name in whole}
    return set(Status) - gone


def _journals(need: Need, snapshot: Snapshot) -> Iterator[Rows]:
    ids = _ids(need)
    if ids is not None:
        yield from _each_with(need, "journal", snapshot.journal, snapshot.invocations_with_ids(ids))
    elif need.limit is not None:
        yield from _each_with(need, "journal", snapshot.journal, snapshot.invocations(), need.limit)
    else:
        yield from _rows(need, "invocation", snapshot.invocations())
        yield from _rows(need, "journal", snapshot.journals())


def _events(need: Need, snapshot: Snapshot) -> Iterator[Rows]:
    ids = _ids(need)
    if ids is None:
        yield from _each_with(need, "event", snapshot.events, snapshot.invocations_with_events(), need.limit)
    else:
        yield from _each_with(need, "event", snapshot.events, snapshot.invocations_with_ids(ids))


def _each_with(
    need: Need,
    source: Literal["journal", "event"],
    of: Callable[[int, int], Iterator[Chunk]],
    invocations: Iterator[Chunk],
    limit: int | None = None,
) -> Iterator[Rows]:
    """Each invocation with its rows of another table, until there are `limit` of those."""
    for chunk in invocations:
        yield Rows(need.table, "invocation", chunk)
        for partition, seq, *_ in chunk:
            if limit is not None and limit <= 0:
                return
            assert isinstance(partition, int) and isinstance(seq, int)
            for rows in of(partition, seq):
                yield Rows(need.table, source, rows)
                limit = None if limit is None else limit - len(rows)


def _rows(need: Need, source: str, chunks: Iterator[Chunk]) -> Iterator[Rows]:
    for chunk in chunks:
        yield Rows(need.table, source, chunk)  # type: ignore[arg-type]


def _limited(chunks: Iterator[Chunk], limit: int | None) -> Iterator[Chunk]:
    if limit is None:
        yield from chunks
        return
    rows = (row for chunk in chunks for row in chunk)
    while limit > 0 and (chunk := list(islice(rows, min(limit, 500)))):
        limit -= len(chunk)
        yield chunk


def _ids(need: Need) -> list[bytes] | None:
    """The ids that are asked for; text that is no id is the id of nothing."""
    if "id" not in need.wanted:
        return None
    ids: list[bytes] = []
    for text in need.wanted["id"]:
        try:
            ids.append(parse_invocation_id(text))
        except BadId:
            continue
    return ids


def _one(need: Need, *columns: str) -> str | None:
    """The one value that a column of these must have; they all say the same."""
    for column in columns:
        values = need.wanted.get(column, ())
        if len(values) == 1:
            return values[0]
    return None
