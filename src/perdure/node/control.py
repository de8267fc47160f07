"""`Control`: what an operator asks of a running engine: cancel, kill, pause, resume, restart, purge, signals, state.

Each is a record like any other: when a method returns, what it did is durable and has been applied. What is refused
changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeAlias

from perdure.model.deployment import Deployment, Pin
from perdure.model.ids import format_invocation_id, hash_key, make_invocation_id, partition_key, partition_of, ulid
from perdure.model.journal import Output, Result
from perdure.model.limits import BODY_BYTES_MAX, STATE_CHANGES_WAITING_MAX
from perdure.model.records import (
    Cancel,
    DeliverSignal,
    Kill,
    ModifyState,
    Pause,
    Purge,
    PurgeJournal,
    Record,
    Restart,
    Resume,
)
from perdure.model.target import ServiceKind
from perdure.node.core import Core
from perdure.node.errors import (
    BadRequest,
    ControlRefused,
    DeploymentNotFound,
    InvocationNotFound,
    Overloaded,
    ServiceNotFound,
)
from perdure.partition import actions as a
from perdure.partition.actions import Control as Fared
from perdure.store.rows import Invocation, Status

KEEP = "keep"
"""The deployment that an invocation is pinned to."""
LATEST = "latest"
"""The deployment that takes new invocations of the service."""
Asked: TypeAlias = Cancel | Kill | Pause | Resume | Restart | Purge | PurgeJournal | DeliverSignal | ModifyState
COPIED_PROTOCOL_MIN = 6
"""Of the service protocol: earlier versions have no random seed that a copy could keep."""


class Control(Core):
    """An engine that can be operated. `Engine` adds what callers ask."""

    def find(self, invocation_id: bytes) -> Invocation | None:
        tables = self.store.tables[self.home_of(invocation_id)]
        seq = tables.find(invocation_id)
        return None if seq is None else tables.invocation(seq)

    def home_of(self, invocation_id: bytes) -> int:
        return partition_of(partition_key(invocation_id), self.partitions)

    # --- single invocations -----------------------------------------------------------------------------------------------

    async def signal(self, invocation_id: bytes, signal_id: int | str, result: Result) -> None:
        """Tell an invocation something; durable on return. An unknown or finished one ignores it."""
        await self.ready()
        await self.applied(DeliverSignal(self.home_of(invocation_id), self.now_ms(), invocation_id, signal_id, result))

    async def send_signal(self, invocation_id: bytes, name: str, result: Result) -> None:
        """Tell an invocation what its handler awaits by this name, and be sure that it is told.

        Errors: InvocationNotFound; ControlRefused (409 finished, 425 not started); BadRequest for an empty name.
        """
        if not name:
            raise BadRequest("a signal needs a name.")
        await self._control(DeliverSignal(self.home_of(invocation_id), self.now_ms(), invocation_id, name, result))

    async def cancel(self, invocation_id: bytes) -> bool:
        """True: it had not started and has ended. False: its handler was asked. Errors: as `kill`."""
        fared = await self._control(Cancel(self.home_of(invocation_id), self.now_ms(), invocation_id))
        return fared is Fared.DONE

    async def kill(self, invocation_id: bytes) -> None:
        """Errors: InvocationNotFound; ControlRefused (409) when it is finished."""
        await self._control(Kill(self.home_of(invocation_id), self.now_ms(), invocation_id))

    async def pause(self, invocation_id: bytes) -> bool:
        """True: it is paused now, or, if it runs elsewhere, once its deployment has let go of it; False: it was.

        Errors: InvocationNotFound; ControlRefused (409).
        """
        await self.ready()
        row = self.find(invocation_id)
        if row is not None and self.pool.pause_elsewhere(self.home_of(invocation_id), row.seq):
            return True
        fared = await self._control(Pause(self.home_of(invocation_id), self.now_ms(), invocation_id))
        return fared is Fared.DONE

    async def resume(self, invocation_id: bytes, *, deployment: str = KEEP) -> bool:
        """True: it is tried now, with failures counted anew; False: an attempt is under way already.

        `deployment`: KEEP, LATEST, or the id of the one where it goes on.
        Errors: InvocationNotFound; ControlRefused (425 not started, 409 finished or not movable); BadRequest when
        it cannot go on there.
        """
        await self.ready()
        row = self.find(invocation_id)
        to = None if row is None else self._moved_to(row, deployment)
        fared = await self._control(Resume(self.home_of(invocation_id), self.now_ms(), invocation_id, to))
        return fared is Fared.DONE

    async def restart(self, invocation_id: bytes, *, from_index: int = 0, deployment: str = LATEST) -> bytes:
        """Run a finished invocation again, from its input or as it stood after entry `from_index`; returns the new id.

        It goes on in `deployment` (KEEP, LATEST or an id), pinned there but for one from its input in LATEST.
        Errors: InvocationNotFound; ServiceNotFound or HandlerNotFound when the handler is gone; BadRequest when it cannot
        go on there; ControlRefused: 400 no such prefix, 409 not finished, 410 its journal is gone, 422 of a workflow or of
        an old protocol, 425 not started.
        """
        await self.ready()
        row = self.find(invocation_id)
        if row is None:
            raise InvocationNotFound()
        service, _ = self.registry.resolve(row.target.service, row.target.handler)
        pin: Pin | None = None
        if row.status is Status.COMPLETED:  # otherwise it is refused for what it is
            if service.kind is ServiceKind.WORKFLOW:
                raise _refused(Fared.UNSUPPORTED, invocation_id)
            from_index = self._before_output(row, from_index)
            pin = self._pin_of_copy(row, deployment) if from_index > 0 else self._pin_of_input(row, deployment)
        new_id = make_invocation_id(partition_key(invocation_id), ulid(self.now_ms(), self.random.bytes(10)))
        await self._control(
            Restart(
                self.home_of(invocation_id),
                self.now_ms(),
                invocation_id,
                new_id,
                int.from_bytes(self.random.bytes(8), "big"),
                max(-1, min(from_index, 1 << 62)),
                row.completion_retention_ms,
                row.journal_retention_ms,
                self.registry.accepted_by(service.name) if pin is None else pin.deployment,
                None if pin is None else pin.protocol_version,
            )
        )
        return new_id

    def _moved_to(self, row: Invocation, deployment: str) -> str | None:
        """The deployment that a resumed invocation moves to; None: it stays."""
        if deployment == KEEP or (deployment == LATEST and self.registry.is_local(row.target.service)):
            return None
        if row.status not in (Status.INVOKED, Status.SUSPENDED, Status.PAUSED):
            return None  # it is refused for what it is
        if row.protocol_version is None and row.status is Status.PAUSED and deployment == LATEST:
            return None  # there it goes in any case: it is pinned to none
        if row.protocol_version is None or (row.status is Status.INVOKED and not row.retry_at_ms):
            raise _refused(Fared.NOT_MOVABLE, row.id)
        there = self._deployment(row, deployment)
        _check_speaks(there, row.protocol_version)
        return there.id

    def _before_output(self, row: Invocation, from_index: int) -> int:
        """The output is not copied: whoever goes on from it goes on from what came before, and comes to it again."""
        if not 0 < from_index < row.journal_length:
            return from_index
        entry = self.journal(self.home_of(row.id), row.seq).entries[from_index]
        return from_index - 1 if type(entry) is Output else from_index

    def _pin_of_input(self, row: Invocation, deployment: str) -> Pin | None:
        """Where a copy of the input alone is pinned from its start; None: it goes where new invocations go."""
        if deployment == LATEST or (deployment == KEEP and row.protocol_version is None):
            return None
        there = self._deployment(row, deployment)
        version = row.protocol_version or min(there.max_protocol_version, self.settings.protocol_version_max)
        _check_speaks(there, version)
        return Pin(there.id, version)

    def _pin_of_copy(self, row: Invocation, deployment: str) -> Pin | None:
        """Where a copied prefix of a journal goes on; None: in this process, where it was made."""
        version = row.protocol_version
        if version is None and self.registry.is_local(row.target.service):
            return None
        if version is None or version < COPIED_PROTOCOL_MIN:
            made = "in this process" if version is None else f"with version {version} of the service protocol"
            raise ControlRefused(
                f"its journal was made {made}: a prefix of it cannot be taken over; restart it from its input.", 422
            )
        if deployment == LATEST and self.registry.is_local(row.target.service):
            raise ControlRefused("its journal was made in a deployment, and the service is in this process now.", 422)
        there = self._deployment(row, deployment)
        _check_speaks(there, version)
        return Pin(there.id, version)

    def _deployment(self, row: Invocation, wanted: str) -> Deployment:
        """KEEP, LATEST, or the one with this id, which must have the handler. Errors: ServiceNotFound, BadRequest."""
        service, handler = row.target.service, row.target.handler
        if wanted == KEEP:
            wanted = row.deployment or ""
        if wanted == LATEST:
            latest = self.registry.deployment_of(service)
            if latest is None:
                raise ServiceNotFound(service)
            return latest
        try:
            found = self.registry.deployment(wanted)
        except DeploymentNotFound as unknown:
            raise BadRequest(f"The given deployment was not found: {wanted}.") from unknown
        if not any(each.name == service and handler in each.handlers for each in found.services):
            raise BadRequest(f"the deployment '{wanted}' has no handler {service}/{handler}.")
        return found

    async def purge(self, invocation_id: bytes) -> None:
        """Errors: InvocationNotFound; ControlRefused (409) when it is not finished."""
        await self._control(Purge(self.home_of(invocation_id), self.now_ms(), invocation_id))

    async def purge_journal(self, invocation_id: bytes) -> None:
        """The result stays. Errors: as `purge`."""
        await self._control(PurgeJournal(self.home_of(invocation_id), self.now_ms(), invocation_id))

    # --- state ------------------------------------------------------------------------------------------------------------

    def state_of(self, service: str, key: str) -> dict[str, bytes]:
        """The state of an object or a workflow as it is now. Errors: ServiceNotFound; BadRequest without keys."""
        self._check_keyed(service, "A service of type Service has no state")
        return self.state(self._home_of_key(key), service, key)

    def holder_of(self, service: str, key: str) -> bytes | None:
        """The invocation that holds a key: its exclusive handler that has started and not ended."""
        tables = self.store.tables[self._home_of_key(key)]
        queue = tables.key_queue(service, key)
        row = None if queue is None or queue.holder is None else tables.invocation(queue.holder)
        return None if row is None else row.id

    async def modify_state(
        self, service: str, key: str, new_state: Mapping[str, bytes], version: str | None = None
    ) -> bool:
        """Replace the state of an object or a workflow: True when it is done, False when it waits for its turn.

        With `version` it does nothing if the state has another by then, whatever is returned.
        Errors: ServiceNotFound; BadRequest for a plain service or values that are too large; Overloaded.
        """
        await self.ready()
        self._check_keyed(service, "Cannot modify state for service type Service")
        if sum(len(name) + len(value) for name, value in new_state.items()) > BODY_BYTES_MAX:
            raise BadRequest(f"the state has more than {BODY_BYTES_MAX} bytes.")
        home = self._home_of_key(key)
        queue = self.store.tables[home].key_queue(service, key)
        if queue is not None and len(queue.changes or ()) >= STATE_CHANGES_WAITING_MAX:
            raise Overloaded(
                f"{STATE_CHANGES_WAITING_MAX} changes of the state of {service}/{key} wait already.",
                "See what holds the key: an invocation that runs or is paused.",
            )
        record = ModifyState(home, self.now_ms(), service, key, dict(new_state), version)
        return await self._control(record) is Fared.DONE

    def _check_keyed(self, service: str, why: str) -> None:
        spec = next((each for each in self.registry.services() if each.name == service), None)
        if spec is None:
            raise ServiceNotFound(service)
        if spec.kind is ServiceKind.SERVICE:
            raise BadRequest(why)

    def _home_of_key(self, key: str) -> int:
        return partition_of(hash_key(key), self.partitions)

    # --- inside -----------------------------------------------------------------------------------------------------------

    async def applied(self, record: Record) -> list[a.Action]:
        """Propose and wait until it is durable and applied."""
        done: asyncio.Future[list[a.Action]] = self.loop.create_future()
        self.propose(record, awaited=True, reply=lambda actions: None if done.done() else done.set_result(actions))
        self.replies_waiting.add(done)
        try:
            return await done
        finally:
            self.replies_waiting.discard(done)

    async def _control(self, record: Asked) -> Fared:
        await self.ready()
        actions = await self.applied(record)
        fared = next(action.outcome for action in actions if type(action) is a.Controlled)
        if fared not in (Fared.DONE, Fared.APPENDED, Fared.UNCHANGED):
            assert not isinstance(record, ModifyState)
            raise _refused(fared, record.invocation_id, type(record))
        return fared


def _check_speaks(deployment: Deployment, version: int) -> None:
    if not deployment.min_protocol_version <= version <= deployment.max_protocol_version:
        raise BadRequest(
            f"the invocation began with version {version} of the service protocol; the deployment '{deployment.id}' "
            f"speaks {deployment.min_protocol_version} to {deployment.max_protocol_version}."
        )


def _refused(
    fared: Fared, invocation_id: bytes, asked: type[Asked] | None = None
) -> InvocationNotFound | ControlRefused:
    """The words are those of Restate."""
    if fared is Fared.NOT_FOUND:
        return InvocationNotFound()
    it = f"The invocation '{format_invocation_id(invocation_id)}'"
    match fared, asked:
        case ((Fared.COMPLETED | Fared.NOT_STARTED), _) if asked is Pause:
            return ControlRefused(f"{it} is not running, cannot be paused.", 409)
        case Fared.COMPLETED, _ if asked is Resume:
            return ControlRefused(f"{it} is completed, cannot be resumed.", 409)
        case Fared.COMPLETED, _:
            return ControlRefused(f"{it} was already completed.", 409)
        case Fared.NOT_COMPLETED, _ if asked is Restart:
            return ControlRefused(f"{it} is still running.", 409)
        case Fared.NOT_COMPLETED, _:
            return ControlRefused(f"{it} is not yet completed.", 409)
        case Fared.NOT_STARTED, _ if asked is Resume:
            return ControlRefused(f"{it} is either inboxed or scheduled, cannot be resumed.", 425)
        case Fared.NOT_STARTED, _ if asked is Restart:
            return ControlRefused(f"{it} cannot be restarted because it's not running yet.", 425)
        case Fared.NOT_STARTED, _:
            return ControlRefused(f"{it} has not started yet.", 425)
        case Fared.INPUT_GONE, _:
            why = "This indicates that the journal was already purged, or not retained at all."
            return ControlRefused(f"{it} cannot be restarted because the input is not available. {why}", 410)
        case ((Fared.OUT_OF_RANGE | Fared.UNANSWERED), _):
            why = "contains some Commands without respective Completions."
            return ControlRefused(
                f"The prefix of the journal '{format_invocation_id(invocation_id)}' up to 'from' (included) {why}", 400
            )
        case Fared.NOT_MOVABLE, _:
            why = "is still running or the deployment id is not pinned yet, deployment id cannot be changed."
            return ControlRefused(f"{it} {why}", 409)
    return ControlRefused(
        f"Restarting the invocation '{format_invocation_id(invocation_id)}' is not supported. Restarting workflows is not "
        "supported, and restarting invocations created using the old service protocol.",
        422,
    )
