"""The tables of one partition, as the state machine sees them.

Contract:
* Reads are point reads and cursor steps. They look into the active layer, then the frozen one, then the layer written last
  (kept as a cache), then SQLite.
* A row returned by a plain read must not be changed; `edit*` returns the one in the active layer, copying it there first.
  Lists and dicts inside a row are replaced, never changed in place.
* Nothing here is durable by itself: the log is. A checkpoint writes a frozen layer with the LSN it stands for.
"""

from __future__ import annotations

from copy import copy

from perdure.model.deployment import Deployment
from perdure.model.journal import Entry
from perdure.model.records import Message
from perdure.store.codec import corrupt
from perdure.store.database import Database
from perdure.store.layer import Layer, OutboxLayer, Overlay, TimerKey
from perdure.store.rows import Event, Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Status, Timer

# What rows take in memory, roughly: the measure of a layer's bound. The state machine adds the payloads, which it measures.
_ROW_BYTES = 700
_ENTRY_BYTES = 120
_SMALL_BYTES = 200


class Tables:
    """Shapes: `layers` from the newest to the oldest: active, then frozen and clean where there are any."""

    __slots__ = ("_active", "_expiry_head", "_meta", "_timer_head", "bytes", "database", "layers", "partition")

    def __init__(self, partition: int, database: Database) -> None:
        self.partition = partition
        self.database = database
        self._active = Layer()
        self.layers: tuple[Layer, ...] = (self._active,)
        self._meta = database.meta() or PartitionMeta()
        self.bytes = 0
        """Estimate of the active layer."""
        self._timer_head: TimerKey = _FIRST_TIMER
        """No timer up to this key stands, though SQLite may still have some."""
        self._expiry_head = (0, 0)
        """SQLite's (expires_at_ms, seq) up to here no longer stand, as the layers say; until the layers move."""

    # --- layers (the store's business) ------------------------------------------------------------------------------------

    def freeze(self) -> Layer:
        """Start a new active layer; the old one is returned and stays readable."""
        frozen = self._active
        self._active = Layer()
        self.layers = (self._active, frozen, *self.layers[1:])
        self._expiry_head = (0, 0)
        self.bytes = 0
        return frozen

    def written(self, *, keep: bool) -> list[Layer]:
        """The frozen layer is in SQLite: with `keep` it stays as the cache. Returns the layers that nobody reads any more."""
        kept = 2 if keep else 1
        gone = self.layers[kept:]
        self.layers = self.layers[:kept]
        self._expiry_head = (0, 0)
        return list(gone)

    # --- meta -------------------------------------------------------------------------------------------------------------

    @property
    def meta(self) -> PartitionMeta:
        return self._meta

    def edit_meta(self) -> PartitionMeta:
        active = self._active
        if active.meta is None:
            active.meta = self._meta = copy(self._meta)
        return self._meta

    # --- invocations ------------------------------------------------------------------------------------------------------

    def find(self, invocation_id: bytes) -> int | None:
        for layer in self.layers:
            if invocation_id in layer.ids:
                return layer.ids[invocation_id]
        return self.database.seq_of(invocation_id)

    def invocation(self, seq: int) -> Invocation | None:
        for layer in self.layers:
            if seq in layer.invocations:
                return layer.invocations[seq]
        return self.database.invocation(seq)

    def edit(self, seq: int) -> Invocation:
        """The row in the active layer. Errors: KeyError."""
        row = self._active.invocations.get(seq)
        if row is not None:
            return row
        known = self.invocation(seq)
        if known is None:
            raise KeyError(seq)
        row = self._active.invocations[seq] = copy(known)
        self.bytes += _ROW_BYTES
        return row

    def add(self, row: Invocation) -> None:
        active = self._active
        if row.id not in active.ids:  # a tombstone there hides an older invocation of this id
            active.fresh.add(row.seq)
        active.invocations[row.seq] = row
        active.ids[row.id] = row.seq
        self.bytes += _ROW_BYTES

    def forget(self, seq: int) -> None:
        """Drop the row, its id, its whole journal and its events."""
        row = self.invocation(seq)
        if row is None:
            return
        active = self._active
        active.chunks.pop(seq, None)
        self.drop_events(row)
        if seq in active.fresh:
            active.fresh.discard(seq)
            del active.invocations[seq]
            active.ids.pop(row.id, None)
            return
        active.invocations[seq] = None
        active.ids[row.id] = None
        active.dropped_journals.add(seq)
        self.bytes += _SMALL_BYTES

    def with_status(self, status: Status) -> list[int]:
        """Sequence numbers of the invocations with this status, ascending; for a start, not for the hot path."""
        seqs = set(self.database.seqs_with_status(status))
        for layer in reversed(self.layers):
            for seq, row in layer.invocations.items():
                if row is not None and row.status is status:
                    seqs.add(seq)
                else:
                    seqs.discard(seq)
        return sorted(seqs)

    def expired(self, now_ms: int, limit: int) -> list[int]:
        """Completed invocations whose retention is over, first those that expired first.

        One that has changed since the last checkpoint is named after the next: nothing is searched in memory.
        """
        found: list[int] = []
        place, page = self._expiry_head, max(limit, _PAGE)
        while len(found) < limit:
            stored = self.database.expiring_after(place, now_ms, page)
            for place in stored:
                if self._still_expires(place[1], place[0]):
                    found.append(place[1])
                elif not found:
                    self._expiry_head = place
            if len(stored) < page:
                break
        return found[:limit]

    def _still_expires(self, seq: int, at_ms: int) -> bool:
        for layer in self.layers:
            if seq in layer.invocations:
                row = layer.invocations[seq]
                return row is not None and row.expires_at_ms == at_ms
        return True

    # --- journals ---------------------------------------------------------------------------------------------------------

    def append_entry(self, seq: int, index: int, at_ms: int, entry: Entry, payload_bytes: int = 0) -> None:
        """`index` is the journal's length so far, `payload_bytes` what the entry adds to the layer beside its row."""
        chunk = self._active.chunks.get(seq)
        if chunk is None:
            self._active.chunks[seq] = JournalChunk(index, [at_ms], [entry])
        else:
            chunk.times.append(at_ms)
            chunk.entries.append(entry)
        self.bytes += _ENTRY_BYTES + payload_bytes

    def add_bytes(self, count: int) -> None:
        """Account for the payload of a result, a message or a promise that went into the active layer."""
        self.bytes += count

    def journal(self, seq: int) -> JournalChunk:
        """The whole journal, its chunks joined: a copy, which does not grow with it."""
        joined = JournalChunk(0, [], [])
        for chunk in reversed(self._chunks(seq)):
            if chunk.first != len(joined.entries):
                why = f"it begins at entry {chunk.first}, behind {len(joined.entries)} entries"
                raise corrupt("journal", (self.partition, seq, chunk.first), why)
            joined.times += chunk.times
            joined.entries += chunk.entries
        return joined

    def _chunks(self, seq: int) -> list[JournalChunk]:
        """The chunks of a journal, from the last to the first."""
        chunks: list[JournalChunk] = []
        below = _ALL
        for layer in self.layers:
            chunk = layer.chunks.get(seq)
            if chunk is not None:
                chunks.append(chunk)
                below = chunk.first
            if below == 0 or seq in layer.dropped_journals:
                return chunks
        return chunks + self.database.chunks(seq, below)[::-1]

    def drop_journal(self, seq: int) -> None:
        active = self._active
        active.chunks.pop(seq, None)
        if seq not in active.fresh:
            active.dropped_journals.add(seq)
            self.bytes += _SMALL_BYTES

    # --- events -----------------------------------------------------------------------------------------------------------

    def put_event(self, seq: int, number: int, event: Event) -> None:
        self._active.events[seq, number] = event
        self.bytes += _SMALL_BYTES

    def event(self, seq: int, number: int) -> Event | None:
        for layer in self.layers:
            if (seq, number) in layer.events:
                return layer.events[seq, number]
        return self.database.event(seq, number)

    def events(self, row: Invocation) -> list[Event]:
        """All that are kept of this invocation, in order. Errors: RowCorrupt when one of them is missing."""
        if row.events is None:
            return []
        found: list[Event] = []
        for number in range(row.events.first, row.events.next):
            event = self.event(row.seq, number)
            if event is None:
                raise corrupt("event", (self.partition, row.seq, number), "it is missing")
            found.append(event)
        return found

    def drop_event(self, seq: int, number: int) -> None:
        active = self._active
        if seq in active.fresh:
            active.events.pop((seq, number), None)
        else:
            active.events[seq, number] = None
            self.bytes += _SMALL_BYTES

    def drop_events(self, row: Invocation) -> None:
        if row.events is not None:
            for number in range(row.events.first, row.events.next):
                self.drop_event(row.seq, number)

    # --- state of a key ---------------------------------------------------------------------------------------------------

    def state(self, service: str, key: str) -> dict[str, bytes]:
        """All of it, in a dict of the caller's own."""
        above: list[Overlay[bytes]] = []
        for layer in self.layers:
            overlay = layer.states.get((service, key))
            if overlay is not None:
                above.append(overlay)
                if overlay.hides:
                    break
        hidden = bool(above) and above[-1].hides
        values = {} if hidden else self.database.state(service, key)
        for overlay in reversed(above):
            for name, value in overlay.values.items():
                if value is None:
                    values.pop(name, None)
                else:
                    values[name] = value
        return values

    def state_value(self, service: str, key: str, name: str) -> bytes | None:
        for layer in self.layers:
            overlay = layer.states.get((service, key))
            if overlay is not None:
                if name in overlay.values:
                    return overlay.values[name]
                if overlay.hides:
                    return None
        return self.database.state_value(service, key, name)

    def set_state(self, service: str, key: str, name: str, value: bytes) -> None:
        self._state_overlay(service, key).values[name] = value
        self.bytes += _SMALL_BYTES + len(value)

    def clear_state(self, service: str, key: str, name: str) -> None:
        self._state_overlay(service, key).values[name] = None
        self.bytes += _SMALL_BYTES

    def clear_all_state(self, service: str, key: str) -> None:
        self._state_overlay(service, key).clear()
        self.bytes += _SMALL_BYTES

    def _state_overlay(self, service: str, key: str) -> Overlay[bytes]:
        overlay = self._active.states.get((service, key))
        if overlay is None:
            overlay = self._active.states[service, key] = Overlay()
        return overlay

    # --- key queues -------------------------------------------------------------------------------------------------------

    def key_queue(self, service: str, key: str) -> KeyQueue | None:
        place = (service, key)
        for layer in self.layers:
            if place in layer.key_queues:
                return layer.key_queues[place]
        return self.database.key_queue(service, key)

    def edit_key_queue(self, service: str, key: str) -> KeyQueue:
        """The row in the active layer, made when there is none."""
        place = (service, key)
        queue = self._active.key_queues.get(place)
        if queue is None:
            known = self.key_queue(service, key)
            queue = self._active.key_queues[place] = KeyQueue() if known is None else copy(known)
            self.bytes += _SMALL_BYTES
        return queue

    def drop_key_queue(self, service: str, key: str) -> None:
        self._active.key_queues[service, key] = None
        self.bytes += _SMALL_BYTES

    def put_inbox(self, service: str, key: str, position: int, seq: int) -> None:
        self._active.inbox[service, key, position] = seq
        self.bytes += _SMALL_BYTES

    def inbox(self, service: str, key: str, position: int) -> int | None:
        place = (service, key, position)
        for layer in self.layers:
            if place in layer.inbox:
                return layer.inbox[place]
        return self.database.inbox(service, key, position)

    def drop_inbox(self, service: str, key: str, position: int) -> None:
        self._active.inbox[service, key, position] = None
        self.bytes += _SMALL_BYTES

    # --- timers -----------------------------------------------------------------------------------------------------------

    def put_timer(self, timer: Timer) -> None:
        if timer.key <= self._timer_head:
            self._timer_head = (timer.wake_at_ms, timer.seq, timer.completion_id - 1)
        self._active.timers.put(timer)
        self.bytes += _SMALL_BYTES

    def timer(self, key: TimerKey) -> Timer | None:
        for layer in self.layers:
            if key in layer.timers.rows:
                return layer.timers.rows[key]
        return self.database.timer(key)

    def drop_timer(self, key: TimerKey) -> None:
        self._active.timers.drop(key)
        self.bytes += _SMALL_BYTES

    def timers_after(self, key: TimerKey, limit: int) -> list[Timer]:
        """Up to `limit` timers with greater keys, in key order."""
        found: dict[TimerKey, Timer] = {}
        above: list[dict[TimerKey, Timer | None]] = []
        for layer in self.layers:
            rows = layer.timers.rows
            for place in layer.timers.after(key, limit, above):
                timer = rows[place]
                assert timer is not None
                found[place] = timer
            above.append(rows)
        self._stored_timers_after(key, limit, above, found)
        return [found[place] for place in sorted(found)[:limit]]

    def _stored_timers_after(
        self,
        key: TimerKey,
        limit: int,
        above: list[dict[TimerKey, Timer | None]],
        found: dict[TimerKey, Timer],
    ) -> None:
        """Those of SQLite that stand, `limit` or a few more, into `found`."""
        from_head = key <= self._timer_head
        cursor = self._timer_head if from_head else key
        # The head stays in front of what stands in a layer: that will be in SQLite one day.
        barrier = min(found, default=_NO_TIMER)
        # One more than asked for: the timer taken last is still there.
        page, alive = limit + 1, 0
        while alive < limit:
            stored = self.database.timers_after(cursor, page)
            for timer in stored:
                cursor = timer.key
                standing = next((rows[cursor] for rows in above if cursor in rows), timer)
                if standing is not None:
                    from_head = False
                    found[cursor] = standing
                    alive += 1
                elif from_head and cursor < barrier:
                    self._timer_head = cursor
            if len(stored) < page:
                return
            page = min(2 * page, _PAGE)

    # --- outboxes ---------------------------------------------------------------------------------------------------------

    def put_outbox(self, target: int, outbox_seq: int, message: Message) -> None:
        self._outbox_layer(target).put(outbox_seq, message)
        self.bytes += _SMALL_BYTES

    def outbox(self, target: int, after: int, limit: int) -> list[tuple[int, Message]]:
        """Up to `limit` messages to `target` behind number `after`, in order."""
        layers = [layer.outboxes[target] for layer in self.layers if target in layer.outboxes]
        start = max([after, *(layer.dropped_to for layer in layers)])
        found = dict(self.database.outbox(target, start, limit))
        for layer in reversed(layers):
            found.update(layer.after(start, limit))
        return sorted(found.items())[:limit]

    def drop_outbox(self, target: int, up_to: int) -> None:
        self._outbox_layer(target).drop(up_to)

    def _outbox_layer(self, target: int) -> OutboxLayer:
        outbox = self._active.outboxes.get(target)
        if outbox is None:
            outbox = self._active.outboxes[target] = OutboxLayer()
        return outbox

    # --- promises ---------------------------------------------------------------------------------------------------------

    def promise(self, service: str, key: str, name: str) -> Promise | None:
        for layer in self.layers:
            overlay = layer.promises.get((service, key))
            if overlay is not None:
                if name in overlay.values:
                    return overlay.values[name]
                if overlay.hides:
                    return None
        return self.database.promise(service, key, name)

    def promises(self, service: str, key: str) -> dict[str, Promise]:
        """All of a key by name, in a dict of the caller's own."""
        names: set[str] = set()
        for layer in self.layers:
            overlay = layer.promises.get((service, key))
            if overlay is not None:
                names.update(overlay.values)
                if overlay.hides:
                    break
        else:
            names.update(self.database.promise_names(service, key))
        found = {name: self.promise(service, key, name) for name in sorted(names)}
        return {name: promise for name, promise in found.items() if promise is not None}

    def put_promise(self, service: str, key: str, name: str, promise: Promise) -> None:
        self._promise_overlay(service, key).values[name] = promise
        self.bytes += _SMALL_BYTES

    def drop_promises(self, service: str, key: str) -> None:
        self._promise_overlay(service, key).clear()
        self.bytes += _SMALL_BYTES

    def _promise_overlay(self, service: str, key: str) -> Overlay[Promise]:
        overlay = self._active.promises.get((service, key))
        if overlay is None:
            overlay = self._active.promises[service, key] = Overlay()
        return overlay

    # --- deployments ------------------------------------------------------------------------------------------------------

    def deployments(self) -> dict[str, Deployment]:
        """All of them by id, in a dict of the caller's own."""
        found: dict[str, Deployment | None] = dict(self.database.deployments())
        for layer in reversed(self.layers):
            found.update(layer.deployments)
        return {key: row for key, row in sorted(found.items()) if row is not None}

    def put_deployment(self, deployment: Deployment) -> None:
        self._active.deployments[deployment.id] = deployment
        self.bytes += _ROW_BYTES

    def drop_deployment(self, deployment_id: str) -> None:
        self._active.deployments[deployment_id] = None
        self.bytes += _SMALL_BYTES


_ALL = 1 << 62
_FIRST_TIMER: TimerKey = (-1, 0, 0)
_NO_TIMER: TimerKey = (1 << 63, 0, 0)
_PAGE = 256
"""Rows read at once while passing over those that no longer stand."""
