"""`OpenExchange`: an exchange between its listener and whatever connection carries it at the moment.

What always holds: bytes of the request wait here until the connection takes them, bytes of the response until the listener
reads; a request may change its connection only while no peer has processed any of it. It knows nothing of HTTP's versions.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from perdure.invoker.remote.errors import RETRIED, ConnectionBroken, TransportFailed
from perdure.invoker.remote.exchange import Listener
from perdure.invoker.remote.head import RequestHead

STARTS_MAX = 4
"""Times one exchange is started: a peer that refuses every stream is not asked for ever."""
KEPT_BYTES_MAX = 1024 * 1024
"""Of a request that nobody has answered yet, what is kept to be sent again on another connection."""

_logger = logging.getLogger("perdure.invoker.remote")


class Carrier(Protocol):
    """The place of an exchange on a connection."""

    def flush(self) -> None:
        """The exchange has something to send."""
        ...

    def acknowledge(self, count: int) -> None:
        """The listener has taken what `count` bytes of the window held."""
        ...

    def set_reading(self, reading: bool) -> None: ...

    def abort(self, *, silent: bool) -> None: ...


class OpenExchange:
    def __init__(self, head: RequestHead, listener: Listener) -> None:
        self.head = head
        self.starts = 0
        self.http_version = ""
        self._listener = listener
        self._carrier: Carrier | None = None
        self._over = False
        self._outgoing: deque[bytes | memoryview] = deque()
        self._outgoing_bytes = 0
        self._ended = False
        self._kept: list[bytes] | None = []
        """What was sent; None: it can no longer be begun again, for it was answered or is too large."""
        self._kept_bytes = 0
        self._reading = True
        self._handing_over = False
        self._incoming: deque[tuple[bytes, int]] = deque()
        self._last: Callable[[], None] | None = None

    # --- the attempt's side -----------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        return self._outgoing_bytes

    def send(self, data: bytes) -> None:
        if self._over or self._ended or not data:
            return
        self._outgoing.append(data)
        self._outgoing_bytes += len(data)
        if self._carrier is not None:
            self._carrier.flush()

    def end(self) -> None:
        if self._over or self._ended:
            return
        self._ended = True
        if self._carrier is not None:
            self._carrier.flush()

    def abort(self, *, silent: bool = False) -> None:
        if not self._over:
            self._close()
            if self._carrier is not None:
                self._carrier.abort(silent=silent)
                self._carrier = None

    def pause_reading(self) -> None:
        if self._reading and not self._over:
            self._reading = False
            if self._carrier is not None:
                self._carrier.set_reading(False)

    def resume_reading(self) -> None:
        if self._reading or self._over:
            return
        self._reading = True
        if self._carrier is not None:
            self._carrier.set_reading(True)
        self._hand_over()

    # --- the connection's side --------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self._over

    @property
    def everything_sent(self) -> bool:
        return self._ended and not self._outgoing

    @property
    def wants_to_send(self) -> bool:
        return bool(self._outgoing) or self._ended

    def begin(self, carrier: Carrier, http_version: str) -> None:
        self.starts += 1
        self.http_version = http_version
        self._carrier = carrier
        if not self._reading:
            carrier.set_reading(False)

    def take(self, count: int) -> bytes:
        """The next bytes of the request, `count` at most."""
        outgoing = self._outgoing
        if not outgoing or count <= 0:
            return b""
        taken: list[bytes | memoryview] = []
        room = count
        while outgoing and room:
            data = outgoing.popleft()
            if len(data) > room:
                view = memoryview(data)
                outgoing.appendleft(view[room:])
                data = view[:room]
            room -= len(data)
            taken.append(data)
        together = bytes(taken[0]) if len(taken) == 1 else b"".join(taken)
        self._outgoing_bytes -= len(together)
        self._keep(together)
        return together

    def respond(self, status: int, headers: Mapping[str, str]) -> None:
        self._kept = None
        self._tell(lambda: self._listener.on_response(status, headers))

    def receive(self, data: bytes, window: int) -> None:
        """`window` is what the data takes of the peer's window, padding included."""
        if not self._over:
            self._incoming.append((data, window))
            self._hand_over()

    def finish(self) -> None:
        """The response is complete; the connection has let go of the exchange."""
        self._finally(self._listener.on_end)

    def fail(self, error: TransportFailed) -> None:
        self._finally(lambda: self._listener.on_broken(error))

    def withdraw(self, reason: str) -> bool:
        """The peer has processed nothing of it. True: it can be started on another connection; otherwise it has failed."""
        self._carrier = None
        if self._over:
            return False
        if self._kept is None or self.starts >= STARTS_MAX:
            self.fail(ConnectionBroken(reason, RETRIED))
            return False
        self._outgoing.extendleft(reversed(self._kept))
        self._outgoing_bytes += self._kept_bytes
        self._kept, self._kept_bytes = [], 0
        return True

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > KEPT_BYTES_MAX:
            self._kept = None

    def _hand_over(self) -> None:
        if self._handing_over:
            return
        self._handing_over = True
        try:
            while self._incoming and self._reading and not self._over:
                data, window = self._incoming.popleft()
                if data:
                    self._tell(lambda data=data: self._listener.on_data(data))  # type: ignore[misc]
                if self._carrier is not None and not self._over:
                    self._carrier.acknowledge(window)
        finally:
            self._handing_over = False
        if self._last is not None and not self._incoming and not self._over:
            last, self._last = self._last, None
            self._close()
            self._tell(last)

    def _finally(self, last: Callable[[], None]) -> None:
        self._carrier = None
        if self._over or self._last is not None:
            return
        self._last = last
        self._hand_over()

    def _tell(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # The connection carries the exchanges of others too: they must not suffer from one listener.
            _logger.exception("a listener failed; its exchange with %s is aborted", self.head.origin)
            self.abort()

    def _close(self) -> None:
        self._over = True
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._incoming.clear()
        self._kept = None
