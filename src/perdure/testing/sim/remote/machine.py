"""The native state machine of a worker, made to repeat itself: it reads the real clock, and walks through sets as they lie.

What always holds: the moments in what it says are those of the simulated clock, and steps start in the order in which they
were made. Nothing else of it is changed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from perdure.endpoint.machine import Execute, Machine, Progress
from perdure.model import journal as j
from perdure.testing.sim.remote.guest_loop import GuestLoop
from perdure.wire.commands import decode_command, encode_command
from perdure.wire.framing import Frame, FrameDecoder, encode_frame

_DATED = (0x040C, 0x040E)
"""Types of frames that hold a moment: `Sleep`, `OneWayCall`."""


class SimMachine(Machine):
    def __init__(self, headers: Iterable[tuple[str, str]], *, compare_payloads: bool) -> None:
        given = list(headers)
        super().__init__(given, compare_payloads=compare_payloads)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, GuestLoop)
        self._loop = loop
        self._version = int(dict(given)["content-type"].rpartition(".v")[2])
        self._frames = FrameDecoder()
        self._moments: deque[int] = deque()
        """Of what it has yet to say, in its order."""
        self._found: deque[Progress] = deque()

    def progress(self, handles: Sequence[int]) -> Progress:
        if not self._found:
            steps: list[Execute] = []
            found = super().progress(handles)
            while isinstance(found, Execute):
                steps.append(found)
                found = super().progress(handles)
            steps.sort(key=lambda step: step.handle)
            self._found.extend(steps)
            self._found.append(found)
        return self._found.popleft()

    def sleep(self, delay_ms: int, name: str) -> int:
        new = not self.replaying
        handle = super().sleep(delay_ms, name)
        if new:
            self._moments.append(self._loop.wall_ms() + delay_ms)
        return handle

    def send(self, call: j.OneWayCall, delay_ms: int | None) -> int:
        new = not self.replaying
        handle = super().send(call, delay_ms)
        if new and delay_ms is not None:
            self._moments.append(self._loop.wall_ms() + delay_ms)
        return handle

    def take_output(self) -> bytes:
        return b"".join(map(self._dated, self._frames.feed(super().take_output())))

    def _dated(self, frame: Frame) -> bytes:
        if frame.type in _DATED:
            command = decode_command(frame)
            if isinstance(command, j.Sleep):
                command = msgspec.structs.replace(command, wake_at_ms=self._moments.popleft())
                return encode_command(command, self._version)
            if isinstance(command, j.OneWayCall) and command.invoke_at_ms:
                command = msgspec.structs.replace(command, invoke_at_ms=self._moments.popleft())
                return encode_command(command, self._version)
        return encode_frame(frame.type, frame.payload, frame.flags)
