"""What a deployment says during one attempt: its frames in, entries for the journal and the attempt's end out.

The rules of the service protocol about order and identity stand here. What always holds: an entry that is given out fits
the journal (each completion id once, each step's result once and only for a step that is there); after the end there is
nothing more. It proposes nothing and knows no transport.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from perdure.model import journal as j
from perdure.wire import messages as m
from perdure.wire.awaits import future_awaiting, suspension_awaiting
from perdure.wire.commands import COMMANDS, decode_command
from perdure.wire.errors import ProtocolViolation
from perdure.wire.framing import REQUESTED_ACK, Frame
from perdure.wire.protobuf import decode
from perdure.wire.results import from_failure

_ACKS_SINCE = 7
_AWAITING_ON_SINCE = 7


class Ended(msgspec.Struct, frozen=True):
    output: j.Output


class Suspending(msgspec.Struct, frozen=True):
    awaiting: j.Awaiting


End: TypeAlias = Ended | Suspending | m.Error
"""How the deployment says that the attempt is over."""


class Inbound:
    """`admit` checks a command before it counts; it raises what it has against it."""

    def __init__(self, version: int, journal: Sequence[j.Entry], admit: Callable[[j.Command], None]) -> None:
        self._version = version
        self._admit = admit
        self._used: set[int] = set()
        """Completion ids that commands have taken."""
        self._running: set[int] = set()
        """Those of steps without a result."""
        self._output: j.Output | None = None
        self.entries: list[j.Entry] = []
        """For the journal, in order; the output stands apart until the end is said."""
        self.urgent = False
        """The deployment waits for an answer to something in `entries`."""
        self.acks: set[int] = set()
        """Steps whose results were proposed in this attempt and need only be acknowledged."""
        self.awaiting: j.Awaiting | None = None
        """What the handler waits for, as far as it said so."""
        self.commands = 0
        """So many so far, those of the journal among them."""
        for entry in journal:
            if isinstance(entry, j.Completion):
                self._running.discard(entry.completion_id)
            elif not isinstance(entry, j.Signal):
                self._take_ids(entry)
                self.commands += 1

    def take_entries(self) -> list[j.Entry]:
        entries, self.entries = self.entries, []
        self.urgent = False
        return entries

    def told(self, notification: j.Notification) -> None:
        """The handler hears of this: what it last said of waiting no longer holds if it waited for it."""
        if self.awaiting is None:
            return
        if isinstance(notification, j.Signal):
            covered = notification.signal_id in self.awaiting.signals
        else:
            covered = notification.completion_id in self.awaiting.completions
        if covered:
            self.awaiting = None

    def take(self, frame: Frame) -> End | None:
        """Errors: ProtocolViolation, AwaitTooDeep, and those of `admit`."""
        if frame.type in COMMANDS:
            self._command(frame)
            return None
        match frame.type:
            case m.Type.PROPOSE_RUN_COMPLETION:
                self._run_completion(frame)
                return None
            case m.Type.AWAITING_ON if self._version >= _AWAITING_ON_SINCE:
                self._awaiting_on(decode(m.AwaitingOn, frame.payload))
                return None
            case m.Type.END:
                if self._output is None:
                    raise ProtocolViolation("the attempt ends without an output.")
                return Ended(self._output)
            case m.Type.SUSPENSION:
                self._nothing_after_output(frame)
                return Suspending(suspension_awaiting(decode(m.Suspension, frame.payload)))
            case m.Type.ERROR:
                return decode(m.Error, frame.payload)
        raise ProtocolViolation(f"a message of type 0x{frame.type:04X} may not come from a deployment.")

    def _command(self, frame: Frame) -> None:
        self._nothing_after_output(frame)
        command = decode_command(frame)
        if isinstance(command, j.Input):
            raise ProtocolViolation("an input came from the deployment.")
        self._take_ids(command)
        self._admit(command)
        self.commands += 1
        self.awaiting = None
        if isinstance(command, j.Output):
            self._output = command
            return
        self.entries.append(command)
        if isinstance(command, j.ANSWERED_BY_ENGINE):
            self.urgent = True

    def _nothing_after_output(self, frame: Frame) -> None:
        if self._output is not None:
            raise ProtocolViolation(f"a message of type 0x{frame.type:04X} came after the output.")

    def _take_ids(self, command: j.Command) -> None:
        taken: tuple[int, ...]
        if isinstance(command, j.Call):
            taken = (command.invocation_id_completion_id, command.completion_id)
        elif isinstance(command, j.OneWayCall):
            taken = (command.invocation_id_completion_id,)
        else:
            completion_id = getattr(command, "completion_id", None)
            if completion_id is None:
                return
            taken = (completion_id,)
        for each in taken:
            if each == 0 or each in self._used:
                raise ProtocolViolation(f"{type(command).__name__} takes the completion id {each}, which is not free.")
            self._used.add(each)
        if isinstance(command, j.Run):
            self._running.add(command.completion_id)

    def _run_completion(self, frame: Frame) -> None:
        proposed = decode(m.ProposeRunCompletion, frame.payload)
        completion_id = proposed.result_completion_id
        if completion_id not in self._running:
            raise ProtocolViolation(f"a result came for {completion_id}, which is no step that waits for one.")
        result: bytes | j.Failure
        if proposed.failure is not None:
            result = from_failure(proposed.failure)
        elif proposed.value is not None:
            result = proposed.value
        else:
            raise ProtocolViolation(f"the result of step {completion_id} holds neither a value nor a failure.")
        self._running.discard(completion_id)
        if frame.flags & REQUESTED_ACK and self._version >= _ACKS_SINCE:
            self.acks.add(completion_id)
        self.entries.append(j.Completion(completion_id, j.CompletionCode.RUN, result))
        self.urgent = True

    def _awaiting_on(self, message: m.AwaitingOn) -> None:
        if message.awaiting_on is None:
            raise ProtocolViolation("an await that waits for nothing.")
        self.awaiting = future_awaiting(message.awaiting_on)
