"""The official SDK's state machine as the peer: it reads what we write, and writes what we read."""

from __future__ import annotations

from restate._internal import PySuspended, PyUnresolvedFuture, PyVM

from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.wire import messages as m
from perdure.wire.commands import encode_command
from perdure.wire.framing import Frame, FrameDecoder, encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import encode

INVOCATION_ID = bytes.fromhex("548ae3cba54055b31a4318f3bb410fac5dd4ae1745e480ce")
INPUT = j.Input([("x-a", "1"), ("x-b", "")], b'"in"')


class Peer:
    """One attempt of the SDK over this journal."""

    def __init__(
        self,
        version: int,
        journal: list[j.Entry] | None = None,
        *,
        state: dict[str, bytes] | None = None,
        start: m.Start | None = None,
        closed: bool = False,
    ) -> None:
        self.version = version
        content_type = f"application/vnd.restate.invocation.v{version}"
        self.vm = PyVM([("content-type", content_type)], False, False)
        assert self.vm.get_response_head().status_code == 200
        self._frames = FrameDecoder()
        entries: list[j.Entry] = [INPUT] if journal is None else journal
        if start is None:
            start = m.Start(id=INVOCATION_ID, debug_id=format_invocation_id(INVOCATION_ID), key="k")
            start.partial_state = state is None
            start.state_map = [m.StateEntry(key.encode(), value) for key, value in (state or {}).items()]
        start.known_entries = len(entries)
        self.vm.notify_input(encode_frame(m.Type.START, encode(start)))
        for entry in entries:
            if isinstance(entry, j.Completion | j.Signal):
                self.tell(entry)
            else:
                self.vm.notify_input(encode_command(entry, version))
        if closed:
            self.vm.notify_input_closed()
        assert self.vm.is_ready_to_execute()
        self.input = self.vm.sys_input()

    def tell(self, notification: j.Notification) -> None:
        self.vm.notify_input(encode_notification(notification, self.version))

    def frames(self) -> list[Frame]:
        """What it has written since it was last asked."""
        return list(self._frames.feed(self.vm.take_output()))

    def take(self, handle: int) -> object:
        """The result of a completed operation."""
        self.progress(handle)
        return self.vm.take_notification(handle)

    def progress(self, *handles: int) -> object:
        futures = [PyUnresolvedFuture.single(handle) for handle in handles]
        return self.vm.do_progress(futures[0] if len(futures) == 1 else PyUnresolvedFuture.first_completed(futures))

    def suspend(self, *handles: int) -> Frame:
        """Close its input and let it wait: what it writes last."""
        self.vm.notify_input_closed()
        assert isinstance(self.progress(*handles), PySuspended)
        return self.frames()[-1]
