"""A digest of what a partition's tables say, wherever it lies: in layers, in SQLite, in many chunks or in few.

Two partitions have equal digests exactly when a reader could not tell them apart. Reads everything: for tests, comparison
of releases and diagnosis, never for the hot path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from perdure.store.codec import encode
from perdure.store.layer import ObjectKey
from perdure.store.tables import Tables


def digest(tables: Tables) -> str:
    """SHA-256, as hexadecimal text. Errors: RowCorrupt, StoreUnreadable."""
    sha = hashlib.sha256()
    for item in _content(tables):
        sha.update(encode(item))
    return sha.hexdigest()


def _content(tables: Tables) -> Iterator[object]:
    yield "meta", tables.meta
    yield from _invocations(tables)
    yield from _keys(tables)
    for deployment in tables.deployments().values():
        yield "deployment", deployment
    after = (0, 0, 0)
    while timers := tables.timers_after(after, 1000):
        for timer in timers:
            yield "timer", timer
        after = timers[-1].key
    for target in sorted({*tables.database.outbox_targets(), *(t for layer in tables.layers for t in layer.outboxes)}):
        for number, message in tables.outbox(target, -1, 1 << 60):
            yield "outbox", target, number, message


def _invocations(tables: Tables) -> Iterator[object]:
    seqs = {*tables.database.seqs(), *tables.database.seqs_with_journal()}
    for layer in tables.layers:
        seqs.update(layer.invocations)
        seqs.update(layer.chunks)
    for seq in sorted(seqs):
        row, journal = tables.invocation(seq), tables.journal(seq)
        if row is not None or journal.entries:
            found = None if row is None else tables.find(row.id)
            yield "invocation", seq, row, found, journal.times, journal.entries
    for key in sorted({*tables.database.event_keys(), *(key for layer in tables.layers for key in layer.events)}):
        event = tables.event(*key)
        if event is not None:
            yield "event", key, event


def _keys(tables: Tables) -> Iterator[object]:
    database, layers = tables.database, tables.layers
    for place in _places(tables, "state", [key for layer in layers for key in layer.states]):
        for name, value in sorted(tables.state(*place).items()):
            yield "state", place, name, value
    for place in _places(tables, "key_queue", [key for layer in layers for key in layer.key_queues]):
        queue = tables.key_queue(*place)
        if queue is not None:
            yield "queue", place, queue
    for waiting in sorted({*database.inbox_places(), *(key for layer in layers for key in layer.inbox)}):
        seq = tables.inbox(*waiting)
        if seq is not None:
            yield "inbox", waiting, seq
    for place in _places(tables, "promise", [key for layer in layers for key in layer.promises]):
        names = {name for layer in layers if place in layer.promises for name in layer.promises[place].values}
        for name in sorted(names.union(database.promise_names(*place))):
            promise = tables.promise(*place, name)
            if promise is not None:
                yield "promise", place, name, promise


def _places(tables: Tables, table: str, in_layers: list[ObjectKey]) -> list[ObjectKey]:
    return sorted({*tables.database.object_keys(table), *in_layers})
