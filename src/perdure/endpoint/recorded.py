"""The answers that came with the journal: while some are still to be told, the handler repeats what it did before.

That is for log lines alone, which are to appear once. A signal counts only while somebody waits for it, because one that nobody
ever waits for is never told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from perdure.model.ids import CANCEL_SIGNAL
from perdure.model.journal import Notification, Signal
from perdure.wire import messages
from perdure.wire.framing import FrameDecoder
from perdure.wire.protobuf import decode

FIRST_NOTIFICATION = 0x8000
"""Message types from here on are answers; below are commands."""
SIGNAL = 0xFBFF


class Recorded:
    """Reads along while the journal comes in (`feed`); then `told` counts down."""

    def __init__(self) -> None:
        self._frames = FrameDecoder(message_bytes_max=1 << 32)  # the state machine refuses what is too long
        self._completions = 0
        self._signals: Counter[int | str] = Counter()

    def feed(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if frame.type == SIGNAL:
                signal = decode(messages.Notification, frame.payload)
                self._signals[signal.signal_name or signal.signal_id or 0] += 1
            elif frame.type >= FIRST_NOTIFICATION:
                self._completions += 1

    def told(self, notification: Notification) -> None:
        if not isinstance(notification, Signal):
            self._completions -= 1
        elif notification.signal_id in self._signals:
            self._signals[notification.signal_id] -= 1
            if self._signals[notification.signal_id] <= 0:
                del self._signals[notification.signal_id]

    def all_told(self) -> None:
        """The state machine has found nothing more."""
        self._completions = 0
        self._signals.clear()

    def left(self, awaited: Container[int | str]) -> bool:
        """True while something recorded is still to be told; `awaited`: the signals that somebody waits for."""
        return self._completions > 0 or any(signal in awaited or signal == CANCEL_SIGNAL for signal in self._signals)
