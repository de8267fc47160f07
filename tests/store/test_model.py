"""The tables against plain dicts: any sequence of changes, checkpoints at any place, restarts at any time."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from perdure.model.journal import Completion, Entry
from perdure.model.records import CompletionMessage
from perdure.store.rows import Event, EventKind, EventRange, Invocation, KeyQueue, Promise, Status, Timer, TimerKind
from perdure.store.store import Store

from .rows import NOW_MS, GatedExecutor, invocation, raw_id

KEYS = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["x", "y", "ü"])
IDS = st.integers(1, 4)
PICK = st.integers(0, 1 << 30)
WAKES = st.integers(1, 6)
SERVICE = "Cart"


class Model:
    """What the tables should say."""

    def __init__(self) -> None:
        self.epoch = 0
        self.rows: dict[int, Invocation] = {}
        self.ids: dict[int, int] = {}
        self.journals: dict[int, list[tuple[int, Entry]]] = {}
        self.state: dict[str, dict[str, bytes]] = {"a": {}, "b": {}}
        self.promises: dict[str, dict[str, Promise]] = {"a": {}, "b": {}}
        self.queues: dict[str, KeyQueue] = {}
        self.inbox: dict[tuple[str, int], int] = {}
        self.timers: dict[tuple[int, int, int], Timer] = {}
        self.outbox: dict[int, Any] = {}
        self.outbox_next = 1
        self.events: dict[tuple[int, int], Event] = {}

    def drop_events(self, seq: int) -> None:
        self.events = {key: event for key, event in self.events.items() if key[0] != seq}


class TablesAgainstDicts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.executor = GatedExecutor()
        self.model = Model()
        self.written = copy.deepcopy(self.model)
        self.frozen: Model | None = None
        self.lsn = 0
        self.seq = 0
        self._open()

    def _open(self) -> None:
        self.store = Store.open(str(self.directory / "store.sqlite"), 1, executor=self.executor, cache_bytes=1 << 20)
        self.tables = self.store.tables[0]

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    def _some(self, pick: int) -> int | None:
        seqs = sorted(self.model.rows)
        return seqs[pick % len(seqs)] if seqs else None

    # --- checkpoints and restarts -----------------------------------------------------------------------------------------

    @rule()
    def freeze(self) -> None:
        if self.frozen is None:
            self.lsn += 1
            self.store.freeze(self.lsn)
            self.frozen = copy.deepcopy(self.model)

    @rule()
    def write(self) -> None:
        """The writer commits; the loop has not heard of it yet."""
        if self.frozen is not None and self.store.applied_lsn < self.lsn:
            future = self.store.write_frozen()
            self.executor.run()
            assert future.result(0) == self.lsn
            self.written = self.frozen

    @rule()
    def finish(self) -> None:
        self.freeze()
        self.write()
        self.store.written()
        self.executor.run()
        self.frozen = None

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self._open()
        self.model = copy.deepcopy(self.written)
        self.frozen = None
        self.lsn = self.store.applied_lsn

    # --- changes ----------------------------------------------------------------------------------------------------------

    @rule(epoch=st.integers(1, 9))
    def edit_meta(self, epoch: int) -> None:
        self.tables.edit_meta().leader_epoch = self.model.epoch = epoch

    @rule(number=IDS, entries=st.integers(0, 3))
    def add(self, number: int, entries: int) -> None:
        if number in self.model.ids:
            return
        self.seq += 1
        self.tables.add(invocation(self.seq, id=number))
        self.model.rows[self.seq] = invocation(self.seq, id=number)
        self.model.ids[number] = self.seq
        self.model.journals[self.seq] = []
        for _ in range(entries):
            self._append(self.seq)

    def _append(self, seq: int) -> None:
        journal = self.model.journals[seq]
        entry = Completion(len(journal), 1, bytes([seq % 256, len(journal)]))
        self.tables.append_entry(seq, len(journal), NOW_MS + len(journal), entry)
        journal.append((NOW_MS + len(journal), entry))

    @rule(pick=PICK)
    def append_entry(self, pick: int) -> None:
        if (seq := self._some(pick)) is not None:
            self._append(seq)

    @rule(pick=PICK, status=st.sampled_from(Status), expires=st.integers(0, 4))
    def edit(self, pick: int, status: Status, expires: int) -> None:
        if (seq := self._some(pick)) is not None:
            for row in (self.tables.edit(seq), self.model.rows[seq]):
                row.status = status
                row.expires_at_ms = expires

    @rule(pick=PICK)
    def drop_journal(self, pick: int) -> None:
        if (seq := self._some(pick)) is not None:
            self.tables.drop_journal(seq)
            self.model.journals[seq] = []

    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        if (seq := self._some(pick)) is not None:
            self.tables.forget(seq)
            row = self.model.rows.pop(seq)
            self.model.drop_events(seq)
            del self.model.journals[seq]
            del self.model.ids[int.from_bytes(row.id[8:], "big")]

    @rule(pick=PICK)
    def put_event(self, pick: int) -> None:
        if (seq := self._some(pick)) is not None:
            kept = self.model.rows[seq].events or EventRange(0, 0, 0)
            event = Event(EventKind.PAUSED, NOW_MS, kept.next)
            self.tables.put_event(seq, kept.next, event)
            self.model.events[seq, kept.next] = event
            self._keep_events(seq, EventRange(kept.first, kept.next + 1, 0))

    @rule(pick=PICK)
    def drop_first_event(self, pick: int) -> None:
        seq = self._some(pick)
        if seq is not None and (kept := self.model.rows[seq].events) is not None:
            self.tables.drop_event(seq, kept.first)
            del self.model.events[seq, kept.first]
            self._keep_events(seq, EventRange(kept.first + 1, kept.next, 0) if kept.first + 1 < kept.next else None)

    @rule(pick=PICK)
    def drop_events(self, pick: int) -> None:
        if (seq := self._some(pick)) is not None:
            self.tables.drop_events(self.tables.edit(seq))
            self.model.drop_events(seq)
            self._keep_events(seq, None)

    def _keep_events(self, seq: int, kept: EventRange | None) -> None:
        for row in (self.tables.edit(seq), self.model.rows[seq]):
            row.events = kept

    @rule(key=KEYS, name=NAMES, value=st.binary(max_size=3))
    def set_state(self, key: str, name: str, value: bytes) -> None:
        self.tables.set_state(SERVICE, key, name, value)
        self.model.state[key][name] = value

    @rule(key=KEYS, name=NAMES)
    def clear_state(self, key: str, name: str) -> None:
        self.tables.clear_state(SERVICE, key, name)
        self.model.state[key].pop(name, None)

    @rule(key=KEYS)
    def clear_all_state(self, key: str) -> None:
        self.tables.clear_all_state(SERVICE, key)
        self.model.state[key].clear()

    @rule(key=KEYS, name=NAMES, value=st.binary(max_size=2))
    def put_promise(self, key: str, name: str, value: bytes) -> None:
        self.tables.put_promise(SERVICE, key, name, Promise(True, value))
        self.model.promises[key][name] = Promise(True, value)

    @rule(key=KEYS)
    def drop_promises(self, key: str) -> None:
        self.tables.drop_promises(SERVICE, key)
        self.model.promises[key].clear()

    @rule(key=KEYS)
    def put_inbox(self, key: str) -> None:
        queue = self.tables.edit_key_queue(SERVICE, key)
        known = self.model.queues.setdefault(key, KeyQueue())
        self.tables.put_inbox(SERVICE, key, queue.tail, queue.tail + 7)
        self.model.inbox[key, known.tail] = known.tail + 7
        queue.tail += 1
        known.tail += 1

    @rule(key=KEYS)
    def drop_inbox(self, key: str) -> None:
        known = self.model.queues.get(key)
        if known is not None and known.head < known.tail:
            self.tables.edit_key_queue(SERVICE, key).head += 1
            self.tables.drop_inbox(SERVICE, key, known.head)
            del self.model.inbox[key, known.head]
            known.head += 1

    @rule(key=KEYS)
    def drop_key_queue(self, key: str) -> None:
        known = self.model.queues.get(key)
        if known is not None and known.head == known.tail:
            self.tables.drop_key_queue(SERVICE, key)
            del self.model.queues[key]

    @rule(wake=WAKES, completion=st.integers(0, 2))
    def put_timer(self, wake: int, completion: int) -> None:
        timer = Timer(wake, 1, completion, TimerKind.SLEEP)
        self.tables.put_timer(timer)
        self.model.timers[timer.key] = timer

    @rule(wake=WAKES, completion=st.integers(0, 2))
    def drop_timer(self, wake: int, completion: int) -> None:
        self.tables.drop_timer((wake, 1, completion))
        self.model.timers.pop((wake, 1, completion), None)

    @rule()
    def put_outbox(self) -> None:
        number = self.model.outbox_next
        message = CompletionMessage(number, Completion(number, 1))
        self.tables.put_outbox(1, number, message)
        self.model.outbox[number] = message
        self.model.outbox_next += 1

    @rule(pick=PICK)
    def drop_outbox(self, pick: int) -> None:
        if self.model.outbox:
            numbers = sorted(self.model.outbox)
            up_to = numbers[pick % len(numbers)]
            self.tables.drop_outbox(1, up_to)
            self.model.outbox = {number: m for number, m in self.model.outbox.items() if number > up_to}

    # --- what must hold ---------------------------------------------------------------------------------------------------

    @invariant()
    def invocations_agree(self) -> None:
        tables, model = self.tables, self.model
        assert tables.meta.leader_epoch == model.epoch
        for seq in range(1, self.seq + 1):
            assert tables.invocation(seq) == model.rows.get(seq)
            journal = tables.journal(seq)
            assert journal.first == 0
            assert list(zip(journal.times, journal.entries, strict=True)) == model.journals.get(seq, [])
            events = [event for (of, _), event in sorted(model.events.items()) if of == seq]
            assert events == ([] if seq not in model.rows else tables.events(model.rows[seq]))
            assert all(
                (tables.event(seq, number) is None) == ((seq, number) not in model.events) for number in range(4)
            )
        for number in range(1, 5):
            assert tables.find(raw_id(number)) == model.ids.get(number)
        for status in Status:
            wanted = [seq for seq, row in sorted(model.rows.items()) if row.status is status]
            assert tables.with_status(status) == wanted

    @invariant()
    def keys_agree(self) -> None:
        tables, model = self.tables, self.model
        for key in ("a", "b"):
            assert tables.state(SERVICE, key) == model.state[key]
            for name in ("x", "y", "ü"):
                assert tables.state_value(SERVICE, key, name) == model.state[key].get(name)
                assert tables.promise(SERVICE, key, name) == model.promises[key].get(name)
            assert tables.key_queue(SERVICE, key) == model.queues.get(key)
            for position in range(8):
                assert tables.inbox(SERVICE, key, position) == model.inbox.get((key, position))

    @invariant()
    def cursors_agree(self) -> None:
        tables, model = self.tables, self.model
        timers = [model.timers[key] for key in sorted(model.timers)]
        for limit in (1, 3, 100):
            for after in ((0, 0, 0), (2, 1, 1), (5, 1, 2)):
                assert tables.timers_after(after, limit) == [t for t in timers if t.key > after][:limit]
        for key in [(wake, 1, completion) for wake in range(1, 7) for completion in range(3)]:
            assert tables.timer(key) == model.timers.get(key)
        for after in (0, model.outbox_next // 2):
            wanted = [(number, m) for number, m in sorted(model.outbox.items()) if number > after]
            assert tables.outbox(1, after, 100) == wanted
            assert tables.outbox(1, after, 2) == wanted[:2]

    @invariant()
    def the_cleaner_is_told_only_what_has_expired(self) -> None:
        rows = self.model.rows
        due = sorted((row.expires_at_ms, seq) for seq, row in rows.items() if 0 < row.expires_at_ms <= 3)
        told = self.tables.expired(3, 100)
        assert set(told) <= {seq for _, seq in due}
        if self.frozen is None and self.model.rows == self.written.rows:
            assert told == [seq for _, seq in due]
            assert self.tables.expired(3, 1) == told[:1]


TestTablesAgainstDicts = TablesAgainstDicts.TestCase
TestTablesAgainstDicts.settings = settings(
    max_examples=max(1, 30 * settings.default.max_examples // 100), stateful_step_count=30
)
