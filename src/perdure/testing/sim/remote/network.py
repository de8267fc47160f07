"""A simulated network: connections whose bytes arrive late and in pieces, or never, and break at any moment.

What always holds, as with TCP: what arrives is what was sent, in order, up to the moment at which the connection breaks; each
end is told of its loss once, unless its process has gone. Who is silent sends neither data nor a reset. It knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from perdure.testing.sim.virtual_time import SimLoop

P = TypeVar("P", bound=asyncio.BaseProtocol)

HIGH_WATER_BYTES = 8_000
"""On their way: then who writes is told to wait."""
LOW_WATER_BYTES = 2_000
_DELAYS_S: tuple[float, ...] = (0.0, 0.0, 0.0001, 0.001, 0.02)
_SLOW_S: tuple[float, ...] = (0.0, 0.05, 0.5, 2.0)
_RESET_WITHIN_S = (0.0, 0.001, 1.0)


class Listener(NamedTuple):
    loop: SimLoop
    accept: Callable[[], asyncio.Protocol]


class Network:
    """Between one engine and its workers, who listen on ports; several may share one, as behind a balancer."""

    def __init__(self, random: Random, note: Callable[[str], None]) -> None:
        self.ends: list[End] = []
        self._random = random
        self._note = note
        self._listeners: dict[int, list[Listener]] = {}
        self._cut_until_s: dict[int, float] = {}
        self._slow_until_s: dict[int, float] = {}

    # --- who is there -----------------------------------------------------------------------------------------------------

    def listen(self, port: int, listener: Listener) -> None:
        self._listeners.setdefault(port, []).append(listener)

    def refuse(self, port: int, loop: SimLoop) -> None:
        """Nobody listens there any more on this loop."""
        self._listeners[port] = [each for each in self._listeners.get(port, ()) if each.loop is not loop]

    async def connect(self, loop: SimLoop, make: Callable[[], P], port: int) -> tuple[asyncio.Transport, P]:
        """Errors: ConnectionRefusedError."""
        await asyncio.sleep(self.delay_s(port))
        if (wait_s := self.held_until_s(port) - loop.time()) > 0:
            await asyncio.sleep(wait_s)
            return await self.connect(loop, make, port)
        listeners = self._listeners.get(port)
        if not listeners:
            raise ConnectionRefusedError(111, "Connection refused")
        listener = self._random.choice(listeners)
        near, far = End(self, loop, port), End(self, listener.loop, port)
        near.peer, far.peer = far, near
        self.ends = [each for each in self.ends if not each.gone] + [near, far]
        listener.loop.call_soon(far.open, listener.accept)
        protocol = make()
        near.open(lambda: protocol)
        return near, protocol

    def perish(self, loop: SimLoop, *, silent: bool) -> None:
        """The process of this loop is gone. `silent`: with its machine, so nobody is told."""
        for end in self.ends:
            if end.loop is loop:
                end.perish(silent=silent)
        self.ends = [each for each in self.ends if not each.gone]

    # --- its faults -------------------------------------------------------------------------------------------------------

    def cut(self, port: int, until_s: float) -> None:
        """Nothing arrives before then, in either direction; it is not lost."""
        self._cut_until_s[port] = until_s

    def slow(self, port: int, until_s: float) -> None:
        self._slow_until_s[port] = until_s

    def calm(self) -> None:
        self._cut_until_s.clear()
        self._slow_until_s.clear()

    def reset_one(self) -> None:
        """A connection breaks, at both ends."""
        whole = [each for each in self.ends if not each.gone]
        if whole:
            end = self._random.choice(whole)
            self._note(f"a connection to port {end.port} breaks")
            end.reset_soon()
            end.peer.reset_soon()

    # --- for connections --------------------------------------------------------------------------------------------------

    def held_until_s(self, port: int) -> float:
        return self._cut_until_s.get(port, 0.0)

    def delay_s(self, port: int) -> float:
        delays = _DELAYS_S
        if (until_s := self._slow_until_s.get(port)) is not None:
            if until_s > self._now_s():
                delays = _SLOW_S
            else:
                del self._slow_until_s[port]
        return self._random.choice(delays)

    def reset_delay_s(self) -> float:
        return self._random.choice(_RESET_WITHIN_S)

    def pieces(self, data: bytes) -> list[bytes]:
        """As they arrive: mostly whole, else cut anywhere."""
        if len(data) < 2 or self._random.random() < 0.6:
            return [data]
        at = self._random.randrange(1, len(data))
        return [data[:at], data[at:]]

    def reads_no_more(self) -> bool:
        """Whether a read ends here, with more at hand."""
        return self._random.random() < 0.3

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


class End(asyncio.Transport):
    """One end of a connection: what was sent to it waits here until it arrives."""

    peer: End

    def __init__(self, network: Network, loop: SimLoop, port: int) -> None:
        super().__init__()
        self.loop: Final = loop
        self.port: Final = port
        self.gone = False
        """Its process knows it no more, or is no more."""
        self._network = network
        self._silent = False
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False
        self._paused = False
        self._inbox: deque[tuple[float, bytes]] = deque()
        """With the moments of arrival. Empty bytes: the end of it."""
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0
        """What was sent and has not arrived."""
        self._full = False

    def open(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        if not self.gone:
            self._protocol = make()
            self._protocol.connection_made(self)
            self._arm()

    # --- asyncio.Transport ------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self.gone or not data:
            return
        self._unread += len(data)
        for piece in self._network.pieces(bytes(data)):
            self.peer.expect(piece)
        if not self._full and self._unread > HIGH_WATER_BYTES and isinstance(self._protocol, asyncio.Protocol):
            self._full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if not (self._closing or self.gone):
            self._closing = True
            self.peer.expect(b"")
            self.loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self.gone:
            self._closing = True
            self.peer.reset_soon()
            self.loop.call_soon(self._lose, None)

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return max(0, self._unread - HIGH_WATER_BYTES)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._arm()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    # --- what comes from the other end ------------------------------------------------------------------------------------

    def expect(self, data: bytes) -> None:
        if self.gone:
            if not self._silent:
                self.peer.reset_soon()  # as the kernel answers for a process that is no more
            return
        self._last_s = max(self._last_s, self.peer.loop.time() + self._network.delay_s(self.port))
        self._inbox.append((self._last_s, data))
        self._arm()

    def reset_soon(self) -> None:
        if not self.gone:
            self.loop.call_at(self.loop.time() + self._network.reset_delay_s(), self._reset)

    def perish(self, *, silent: bool) -> None:
        self._leave()
        self._silent = silent
        if not silent:
            self.peer.reset_soon()

    def _arm(self) -> None:
        if self._timer is None and self._inbox and self._protocol is not None and not (self._paused or self.gone):
            at_s = max(self._inbox[0][0], self._network.held_until_s(self.port))
            self._timer = self.loop.call_at(at_s, self._deliver)

    def _deliver(self) -> None:
        """What has arrived by now, or some of it."""
        self._timer = None
        now_s = self.loop.time()
        if self.gone or self._paused or self._network.held_until_s(self.port) > now_s:
            self._arm()
            return
        parts: list[bytes] = []
        while self._inbox and self._inbox[0][0] <= now_s and self._inbox[0][1]:
            parts.append(self._inbox.popleft()[1])
            if self._network.reads_no_more():
                break
        ended = bool(self._inbox) and not self._inbox[0][1] and self._inbox[0][0] <= now_s
        data, protocol = b"".join(parts), self._protocol
        assert isinstance(protocol, asyncio.Protocol)
        if data and not self._closing:
            protocol.data_received(data)
        if data:
            self.peer.taken(len(data))
        if ended and not self._closing and not protocol.eof_received():
            self.close()
        elif not ended:
            self._arm()

    def taken(self, count: int) -> None:
        """The other end has read so much."""
        if not self.gone:
            self._unread -= count
            if self._full and self._unread < LOW_WATER_BYTES:
                self._full = False
                self.loop.call_soon(self._resume_writing)

    def _resume_writing(self) -> None:
        if not (self.gone or self._full) and isinstance(self._protocol, asyncio.Protocol):
            self._protocol.resume_writing()

    def _reset(self) -> None:
        wait_s = self._network.held_until_s(self.port) - self.loop.time()
        if self.gone:
            return
        if wait_s > 0:
            self.loop.call_later(wait_s, self._reset)
        else:
            self._lose(ConnectionResetError(104, "Connection reset by peer"))

    def _lose(self, error: OSError | None) -> None:
        if not self.gone:
            self._leave()
            if self._protocol is not None:
                self._protocol.connection_lost(error)

    def _leave(self) -> None:
        self.gone = self._closing = True
        self._inbox.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
