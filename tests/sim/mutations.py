"""Guards of the engine, each switched off by a patch of the production code: what the simulator must notice.

A mutation is a context: inside it the guard is off. Each says in a word what would be lost without the guard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

import apsw
import msgspec

from perdure.invoker import local, steps
from perdure.log import recovery, scan, segments
from perdure.log.segment_log import SegmentLog
from perdure.model import journal
from perdure.model.records import Forget, Invoke, KillMessage
from perdure.node import timers
from perdure.node.callers import Callers
from perdure.node.checkpoints import Checkpoints
from perdure.node.core import Core
from perdure.node.data_directory import DataDirectory
from perdure.node.engine import Engine
from perdure.node.requests import Accepted
from perdure.partition import apply as applying
from perdure.partition import lifecycle, promises
from perdure.partition.actions import Control, Controlled, Delivered
from perdure.partition.messages import handle
from perdure.partition.transitions import attempts, control, progress, restart
from perdure.partition.transitions.state_changes import modify_state
from perdure.sdk.attempt import Attempt
from perdure.sdk.task import HandlerTask
from perdure.store import schema, tables, writer
from perdure.store.errors import CheckpointFailed
from perdure.store.rows import JournalChunk, Promise, Status, Timer, TimerKind

Mutation = Callable[[], AbstractContextManager[object]]
MUTATIONS: dict[str, tuple[Mutation, str | None]] = {}
"""By name: the mutation, and the theme of the seeds that are to find it."""


def mutation(theme: str | None = None) -> Callable[[Callable[[], Iterator[None]]], Mutation]:
    def register(make: Callable[[], Iterator[None]]) -> Mutation:
        made = contextmanager(make)
        MUTATIONS[make.__name__] = (made, theme)
        return made

    return register


@contextmanager
def _patched(*patches: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield


# --- the log --------------------------------------------------------------------------------------------------------------


@mutation("power")
def no_fsync() -> Iterator[None]:
    """A batch is acknowledged without having been synced."""
    with patch.object(segments.ActiveSegment, "sync", lambda self: None):
        yield


@mutation("power")
def acknowledge_before_sync() -> Iterator[None]:
    """The sync comes after everybody was told."""

    def commit(self: Any, active: Any, batch: Any) -> None:
        active.append(batch.first_lsn, len(batch.slots), batch.body)
        if self._fsync:
            self._loop.call_later(0.001, _sync_if_possible, active)

    with patch.object(SegmentLog, "_commit", commit):
        yield


def _sync_if_possible(active: Any) -> None:
    with suppress(OSError):
        active.sync()


@mutation("power")
def no_body_checksum() -> Iterator[None]:
    """A batch counts when its header is good, whatever its body is."""

    class Matches:
        def __ne__(self, other: object) -> bool:
            return False

    class NoCrc:
        @staticmethod
        def crc32(data: Any, seed: int = 0) -> Any:
            return Matches()

    with patch.object(scan, "zlib", NoCrc):
        yield


@mutation("power")
def same_salt_in_each_life() -> Iterator[None]:
    """A recycled segment keeps its salt: batches of its former life look good."""
    real = segments.SegmentDirectory.activate

    def activate(self: Any, spare: Any, number: int, base_lsn: int, durability: Any) -> Any:
        class Constant:
            def bytes(self, count: int) -> bytes:
                return b"\x07" * count

        kept, self._random = self._random, Constant()
        try:
            return real(self, spare, number, base_lsn, durability)
        finally:
            self._random = kept

    with patch.object(segments.SegmentDirectory, "activate", activate):
        yield


@mutation("power")
def new_segment_without_directory_sync() -> Iterator[None]:
    """A segment is written to before its name is sure to be there."""
    real = segments.SegmentDirectory.activate

    def activate(self: Any, *args: Any) -> Any:
        files, self._files = self._files, _NoDirectorySync(self._files)
        try:
            return real(self, *args)
        finally:
            self._files = files

    with patch.object(segments.SegmentDirectory, "activate", activate):
        yield


class _NoDirectorySync:
    def __init__(self, files: Any) -> None:
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def sync_directory(self, path: Any) -> None:
        pass


@mutation("errors")
def go_on_after_a_failed_sync() -> Iterator[None]:
    """A failed sync is tried again on the same file, which then says that all is well."""

    def commit(self: Any, active: Any, batch: Any) -> None:
        active.append(batch.first_lsn, len(batch.slots), batch.body)
        for _ in range(5):
            try:
                active.sync()
                return
            except OSError:
                continue

    with patch.object(SegmentLog, "_commit", commit):
        yield


@mutation("os")
def no_repair_of_the_tail() -> Iterator[None]:
    """What is in memory after a failed sync is taken to be on the disk."""

    def repair_last(files: Any, last: Any, *, torn: bool) -> None:
        file = files.open(last.path)
        if torn:
            segments.write_zeros(file, last.end, last.header.segment_bytes)
        file.sync()
        file.close()

    with patch.object(recovery, "_repair_last", repair_last):
        yield


@mutation("power")
def damage_before_good_batches_is_cut() -> Iterator[None]:
    """A bad batch with a good one behind it is taken for a torn write."""
    with patch.object(scan.SegmentReader, "header_behind", lambda self, offset: None):
        yield


# --- checkpoints ------------------------------------------------------------------------------------------------------------


@mutation("errors")
def trim_before_the_checkpoint() -> Iterator[None]:
    """Segments are recycled before the tables that cover them are written."""

    async def write(self: Any) -> None:
        lsn = self._applied_lsn()
        self._store.freeze(lsn)
        await self._log.sync()
        self._log.trim(lsn)
        await asyncio.wrap_future(self._store.write_frozen())
        self._store.written()
        self._written_lsn = lsn

    with patch.object(Checkpoints, "write", write):
        yield


@mutation("power")
def checkpoint_without_sync() -> Iterator[None]:
    """SQLite commits with synchronous=NORMAL: in WAL mode that syncs nothing."""
    real = schema.open_writer

    def open_writer(*args: Any) -> Any:
        connection = real(*args)
        connection.pragma("synchronous", "NORMAL")
        return connection

    with patch("perdure.store.store.open_writer", open_writer):
        yield


@mutation("store-damage")
def no_page_checksums() -> Iterator[None]:
    """SQLite's pages are made without checksums, and nobody asks for them."""
    with _patched(
        patch.object(schema, "RESERVED_BYTES", 0),
        patch.object(schema, "require_checksums", lambda connection, where: None),
    ):
        yield


@mutation("os")
def log_not_synced_before_a_checkpoint() -> Iterator[None]:
    """With durability `os` the tables may then be ahead of the log."""

    async def write(self: Any) -> None:
        lsn = self._applied_lsn()
        self._store.freeze(lsn)
        await asyncio.wrap_future(self._store.write_frozen())
        self._store.written()
        self._written_lsn = lsn
        self._log.trim(lsn)

    with patch.object(Checkpoints, "write", write):
        yield


@mutation("partitions")
def lsn_outside_the_transaction() -> Iterator[None]:
    """The applied LSN is committed after the tables, on its own."""

    def write_checkpoint(connection: Any, lsn: int, layers: Any) -> int:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for partition, layer in enumerate(layers):
                writer._LayerWriter(connection, partition).write(layer)
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            schema.put_applied_lsn(connection, lsn)
            connection.execute("COMMIT")
        except apsw.Error as error:
            raise CheckpointFailed(str(error)) from error
        return lsn

    with patch("perdure.store.store.write_checkpoint", write_checkpoint):
        yield


@mutation()
def frozen_layer_let_go_too_early() -> Iterator[None]:
    """The layer that is being written is not readable meanwhile."""
    real = tables.Tables.freeze

    def freeze(self: Any) -> Any:
        frozen = real(self)
        self.layers = (self.layers[0],)
        return frozen

    with patch.object(tables.Tables, "freeze", freeze):
        yield


# --- the partition ----------------------------------------------------------------------------------------------------------


@mutation("operator")
def no_epoch_fence() -> Iterator[None]:
    """Attempts that are over may still say something."""

    def current(row: Any, epoch: int) -> bool:
        return row is not None

    with _patched(
        patch.object(attempts, "attempt_is_current", current), patch.object(progress, "attempt_is_current", current)
    ):
        yield


@mutation("partitions")
def no_dedup_between_partitions() -> Iterator[None]:
    """A message that is delivered again is handled again."""

    def deliver(work: Any, record: Any) -> None:
        meta = work.tables.edit_meta()
        meta.delivered = {**meta.delivered, record.source_partition: record.outbox_seq}
        handle(work, record.message)
        work.actions.append(Delivered(record.source_partition, work.partition, record.outbox_seq))

    transitions = {**applying.TRANSITIONS, applying.records.Deliver: deliver}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation()
def no_key_lock() -> Iterator[None]:
    """Invocations of one key run at once. The invariants are off too: what outsiders see must tell."""

    def admit(work: Any, row: Any) -> None:
        lifecycle.start(work, row)

    with _patched(
        patch.object(lifecycle, "admit", admit),
        patch.object(lifecycle, "release_key", lambda work, row: None),
        patch("perdure.partition.transitions.timers.admit", admit),
        patch("perdure.partition.invariants._check_key", lambda tables, row: None),
    ):
        yield


@mutation("retention")
def cleaner_without_record() -> Iterator[None]:
    """The cleaner drops what is expired from the tables, and the log does not know."""

    def forget(self: Any, record: Forget) -> None:
        for seq in record.seqs:
            self.store.tables[record.partition].forget(seq)
        self._cleaner.forgotten(record)

    with patch.object(Core, "_forget", forget):
        yield


@mutation()
def no_idempotency_join() -> Iterator[None]:
    """A request that is repeated starts another invocation."""
    real = lifecycle.create

    def create(work: Any, request: Any) -> None:
        with patch.object(type(work.tables), "find", lambda self, invocation_id: None):
            real(work, request)

    with _patched(
        patch("perdure.partition.transitions.invoke.create", create),
        patch("perdure.partition.messages.lifecycle.create", create),
    ):
        yield


@mutation()
def suspension_misses_what_came_meanwhile() -> Iterator[None]:
    """A suspension does not look whether something came that its attempt was not told."""
    real = attempts.suspended

    def suspended(work: Any, record: Any) -> None:
        real(work, msgspec.structs.replace(record, notifications=1 << 30))

    transitions = {**applying.TRANSITIONS, applying.records.Suspended: suspended}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation()
def timers_fire_twice() -> Iterator[None]:
    """A timer that fired stays in the tables."""
    with patch.object(tables.Tables, "drop_timer", lambda self, key: None):
        yield


# --- attempts ---------------------------------------------------------------------------------------------------------------


@mutation()
def steps_start_during_replay() -> Iterator[None]:
    """A step whose result is recorded runs again when its handler is replayed."""

    def start_step(self: Any, step: Any) -> None:
        self._steps.fresh[step.completion_id] = step
        self._steps.start()

    with _patched(
        patch.object(local.LocalAttempt, "start_step", start_step),
        patch.object(local.LocalAttempt, "_step_done", _done_unless_recorded),
    ):
        yield


_step_done = local.LocalAttempt._step_done


def _done_unless_recorded(self: Any, step: Any, result: Any) -> None:
    if step.completion_id not in self._completed:
        _step_done(self, step, result)


@mutation("upgrade")
def no_replay_comparison() -> Iterator[None]:
    """What a handler asks on replay is taken to be what it asked before."""
    with patch("perdure.invoker.replay.same", lambda recorded, issued: True):
        yield


@mutation("operator")
def steps_run_on_after_their_attempt() -> Iterator[None]:
    """A killed or paused attempt does not stop its steps."""
    with patch.object(steps.Steps, "cancel", lambda self: None):
        yield


@mutation()
def no_attempt_after_a_restart() -> Iterator[None]:
    """A start does not take up the attempts that the last process took down."""
    with patch("perdure.node.recovery.Backlog.add", lambda self, partition, seq, epoch: None):
        yield


@mutation("damage")
def outbox_not_forwarded_at_start() -> Iterator[None]:
    """Messages that were on their way when the process died stay where they are."""
    with patch("perdure.node.performer.Performer.forward_all", lambda self: None):
        yield


@mutation()
def timers_not_loaded_at_start() -> Iterator[None]:
    """Timers set by an earlier process never fire."""
    with patch("perdure.node.timers.Timers.start", lambda self: None):
        yield


@mutation()
def cancel_before_the_start_is_ignored() -> Iterator[None]:
    """What waits for its key or its time does not hear that it is cancelled."""
    real = lifecycle.signal

    def signal(work: Any, invocation_id: bytes, signal_id: Any, result: Any) -> Any:
        row = work.tables.invocation(work.tables.find(invocation_id) or 0)
        if row is not None and row.status in (Status.SCHEDULED, Status.INBOXED):
            return Control.NOT_STARTED
        return real(work, invocation_id, signal_id, result)

    with patch.object(lifecycle, "signal", signal):
        yield


@mutation()
def promises_are_completed_twice() -> Iterator[None]:
    """The second value of a promise replaces the first."""

    def complete(work: Any, row: Any, entry: Any) -> None:
        place = (row.target.service, row.target.key, entry.key)
        promise = work.tables.promise(*place)
        if promise is not None and promise.completed:
            work.tables.put_promise(*place, Promise())
        promises.complete_promise(work, row, entry)

    with patch.object(progress, "EFFECTS", {**progress.EFFECTS, journal.CompletePromise: complete}):
        yield


@mutation()
def who_attaches_after_the_end_waits() -> Iterator[None]:
    """Who asks for the result of a finished invocation is put with those who wait for its end. The invariants are off."""

    def attach(work: Any, invocation_id: bytes, caller: Any, *, wait: bool) -> None:
        lifecycle.add_caller(work, work.tables.find(invocation_id), caller)

    with _patched(
        patch.object(lifecycle, "attach", attach),
        patch("perdure.node.performer.check_record", lambda record, tables: None),
        patch("perdure.testing.sim.engine.check_partition", lambda tables, seqs, partitions: None),
    ):
        yield


@mutation()
def time_goes_back_with_the_clock() -> Iterator[None]:
    """A clock that is set back takes the engine's time along."""
    with patch.object(Core, "now_ms", lambda self: self.clock.now_ms()):
        yield


@mutation()
def timers_fire_early() -> Iterator[None]:
    """Sleeps end and delayed sends start before their time."""
    real = timers.Timers._fire_due

    def fire_due(self: Any, partition: int, now_ms: int) -> None:
        real(self, partition, now_ms + 5)

    with patch.object(timers.Timers, "_fire_due", fire_due):
        yield


@mutation()
def sleeps_end_early() -> Iterator[None]:
    """A sleep is armed for less than was asked for."""

    def sleep(work: Any, row: Any, entry: Any) -> None:
        wake_at_ms = max(entry.wake_at_ms - 5, 0)
        row.timers = [*(row.timers or ()), (wake_at_ms, entry.completion_id)]
        lifecycle.arm(work, Timer(wake_at_ms, row.seq, entry.completion_id, TimerKind.SLEEP))

    with patch.object(progress, "EFFECTS", {**progress.EFFECTS, journal.Sleep: sleep}):
        yield


@mutation()
def delays_are_ignored() -> Iterator[None]:
    """A delayed send starts at once."""

    def create(work: Any, request: Any) -> None:
        real(work, request)
        row = work.tables.edit(work.tables.find(request.invocation_id))
        if row.status is Status.SCHEDULED:
            work.tables.drop_timer((row.execute_at_ms, row.seq, 0))
            lifecycle.admit(work, row)

    real = lifecycle.create
    with _patched(
        patch("perdure.partition.transitions.invoke.create", create), patch.object(lifecycle, "create", create)
    ):
        yield


@mutation("partitions")
def timers_fire_in_one_partition() -> Iterator[None]:
    """The timers of the others are due for ever, and the loop goes round."""
    real = timers.Timers._fire_due

    def fire_due(self: Any, partition: int, now_ms: int) -> None:
        if partition == 0:
            real(self, partition, now_ms)

    with patch.object(timers.Timers, "_fire_due", fire_due):
        yield


@mutation("retention")
def cleaner_asks_once() -> Iterator[None]:
    """The cleaner does not hear that what it asked for is done, and never asks again."""
    with patch("perdure.node.cleaner.Cleaner.forgotten", lambda self, record: None):
        yield


@mutation("upgrade")
def epoch_left_out_of_the_fence() -> Iterator[None]:
    """Any attempt may speak while some attempt runs."""

    def current(row: Any, epoch: int) -> bool:
        return row is not None and lifecycle.attempt_is_current(row, row.epoch)

    with _patched(
        patch.object(attempts, "attempt_is_current", current), patch.object(progress, "attempt_is_current", current)
    ):
        yield


@mutation()
def siblings_cancelled_by_address() -> Iterator[None]:
    """A task group cancels its tasks in the order of a set that is hashed by address: another one in each attempt."""
    with patch.object(HandlerTask, "__hash__", object.__hash__):
        yield


@mutation()
def children_left_behind() -> Iterator[None]:
    """A cancellation reaches the children whose ids are known by then."""
    real = Attempt._cancel

    def cancel(self: Any) -> None:
        self._calls = {number: callee for number, callee in (self._calls or {}).items() if callee.raw is not None}
        real(self)

    with patch.object(Attempt, "_cancel", cancel):
        yield


@mutation()
def last_come_first_served() -> Iterator[None]:
    """The key goes to whoever has waited shortest."""
    real = lifecycle.release_key

    def release_key(work: Any, row: Any) -> None:
        place = (row.target.service, row.target.key)
        queue = work.tables.edit_key_queue(*place)
        waiting = {at: work.tables.inbox(*place, at) for at in range(queue.head, queue.tail)}
        standing = [at for at, seq in waiting.items() if seq is not None]
        for at, other in zip(standing, reversed(standing), strict=True):
            work.tables.put_inbox(*place, at, waiting[other])
            work.tables.edit(waiting[other]).inbox_position = at
        real(work, row)

    with patch.object(lifecycle, "release_key", release_key):
        yield


# --- errands ----------------------------------------------------------------------------------------------------------------


@mutation("errands")
def restarts_without_later_answers() -> Iterator[None]:
    """A copied prefix lacks the answers that its commands got behind it."""
    real = restart._prefix

    def prefix(journal: JournalChunk, from_index: int) -> JournalChunk | Control:
        made = real(journal, from_index)
        if isinstance(made, Control):
            return made
        return JournalChunk(0, made.times[: from_index + 1], made.entries[: from_index + 1])

    with patch.object(restart, "_prefix", prefix):
        yield


@mutation("errands")
def state_changes_do_not_wait() -> Iterator[None]:
    """A change of state from outside comes between what the holder of the key does."""

    def at_once(work: Any, record: Any) -> None:
        with patch.object(type(work.tables), "key_queue", lambda self, service, key: None):
            modify_state(work, record)

    transitions = {**applying.TRANSITIONS, applying.records.ModifyState: at_once}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation("errands")
def state_versions_are_not_compared() -> Iterator[None]:
    """A change for another version of the state is made all the same."""

    def unconditional(work: Any, record: Any) -> None:
        modify_state(work, msgspec.structs.replace(record, version=None))

    transitions = {**applying.TRANSITIONS, applying.records.ModifyState: unconditional}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation("errands")
def purged_results_stay() -> Iterator[None]:
    """A purge drops the journal alone."""
    with patch.object(control, "forget_now", control.forget_journal):
        yield


@mutation("errands")
def children_outlive_who_gave_up() -> Iterator[None]:
    """Who is killed by its retry policy leaves what it sent alone."""
    with patch.object(attempts, "kill_called", lambda work, row: None):
        yield


@mutation("errands")
def promises_outlive_their_run() -> Iterator[None]:
    """The next run of a workflow finds the promises of the one that was purged."""
    with patch.object(tables.Tables, "drop_promises", lambda self, service, key: None):
        yield


@mutation("errands")
def signals_to_the_suspended_are_lost() -> Iterator[None]:
    """A named signal from outside is acknowledged, and does not reach who left memory to wait for it."""

    def signal(work: Any, invocation_id: bytes, signal_id: Any, result: Any) -> Control:
        row = work.tables.invocation(work.tables.find(invocation_id) or 0)
        if row is not None and row.status is Status.SUSPENDED and isinstance(signal_id, str):
            return Control.APPENDED
        return lifecycle.signal(work, invocation_id, signal_id, result)

    with patch("perdure.partition.transitions.signals.signal", signal):
        yield


@mutation("errands")
def the_paused_wake_for_anything() -> Iterator[None]:
    """Whatever a paused invocation is told lets it go on."""
    real = lifecycle.tell

    def tell(work: Any, row: Any, notification: Any) -> None:
        was = row.status
        real(work, row, notification)
        if was is row.status is Status.PAUSED:
            lifecycle.start(work, row)

    with patch.object(lifecycle, "tell", tell):
        yield


@mutation("errands")
def the_living_are_purged() -> Iterator[None]:
    """A purge does not ask whether its invocation has ended."""

    def finished(work: Any, record: Any, move: Any) -> None:
        row = control._find(work, record)
        if row is not None:
            move(work, row)
        work.actions.append(Controlled(Control.NOT_FOUND if row is None else Control.DONE))

    with patch.object(control, "_finished", finished):
        yield


@mutation("errands")
def what_was_sent_outlives_a_kill() -> Iterator[None]:
    """A kill reaches those that were called, and not those that were sent."""

    def kill_called(work: Any, row: Any) -> None:
        for entry in work.tables.journal(row.seq).entries:
            if isinstance(entry, journal.Call) and entry.request is not None:
                callee = entry.request.invocation_id
                work.send(work.home_of(callee), KillMessage(callee))

    with patch.object(lifecycle, "kill_called", kill_called):
        yield


@mutation("errands")
def deaths_are_not_counted() -> Iterator[None]:
    """A handler that takes its process down does so for ever."""

    def interrupted(work: Any, record: Any) -> None:
        attempts.interrupted(work, record)
        work.tables.edit(record.seq).interruptions = 0

    transitions = {**applying.TRANSITIONS, applying.records.Interrupted: interrupted}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation("errands")
def a_run_leaves_its_state() -> Iterator[None]:
    """The next run of a workflow finds the state of the one that was purged."""

    def drop(work: Any, row: Any) -> None:
        with patch.object(type(work.tables), "clear_all_state", lambda self, service, key: None):
            real(work, row)

    real = lifecycle.drop
    with _patched(patch("perdure.partition.transitions.forget.drop", drop), patch.object(lifecycle, "drop", drop)):
        yield


@mutation("errands")
def inboxes_have_no_bound() -> Iterator[None]:
    """However many wait for a key, one more is taken."""
    with patch.object(Engine, "_check_inbox", lambda self, spec, target, invocation_id: None):
        yield


# --- who waits outside ------------------------------------------------------------------------------------------------------


@mutation()
def sends_are_acknowledged_at_once() -> Iterator[None]:
    """Who sends is told before anything is durable."""

    async def send(self: Any, request: Any) -> Accepted:
        await self._until_it_takes_calls()
        _, invoke = self._prepare(request)
        self.propose(Invoke(self.home_of(invoke.invocation_id), self.now_ms(), invoke), awaited=True)
        return Accepted(invoke.invocation_id, False, invoke.execute_at_ms)

    with patch.object(Engine, "send", send):
        yield


@mutation()
def who_waits_is_not_told_of_the_end() -> Iterator[None]:
    """An engine that stops or fails leaves its callers alone."""
    with patch.object(Callers, "fail", lambda self, make_error: None):
        yield


@mutation()
def nobody_answers_for_the_unknown() -> Iterator[None]:
    """Who attaches to an invocation that there is not waits for ever."""
    real = lifecycle.attach

    def attach(work: Any, invocation_id: bytes, caller: Any, *, wait: bool) -> None:
        if work.tables.find(invocation_id) is not None:
            real(work, invocation_id, caller, wait=wait)

    with patch.object(lifecycle, "attach", attach):
        yield


# --- processes --------------------------------------------------------------------------------------------------------------


@mutation()
def leaders_have_one_number() -> Iterator[None]:
    """A process that takes a partition does not say so to those that come after it."""
    transitions = {**applying.TRANSITIONS, applying.records.Lead: lambda work, record: None}
    with patch.object(applying, "TRANSITIONS", transitions):
        yield


@mutation()
def checkpoints_only_at_the_end() -> Iterator[None]:
    """Nothing is written down before an engine stops."""
    with patch.object(Checkpoints, "start", lambda self: None):
        yield


@mutation()
def directories_stay_locked() -> Iterator[None]:
    """An engine that has ended keeps its data directory."""
    with patch.object(DataDirectory, "release", lambda self: None):
        yield
