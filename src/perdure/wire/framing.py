"""Frames of the service protocol: an 8-byte header (type, flags, length), then the message.

What always holds: a decoder keeps at most one unfinished frame, and refuses it by its header when it is too large.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from perdure.model.limits import MIB
from perdure.wire.errors import MessageTooLarge

MESSAGE_BYTES_MAX = 32 * MIB
REQUESTED_ACK = 0x8000
"""Flag of a message: the sender wants to hear that it is durable."""

_HEADER = struct.Struct(">HHI")


class Frame(NamedTuple):
    type: int
    flags: int
    payload: bytes


def encode_frame(message_type: int, payload: bytes, flags: int = 0) -> bytes:
    return _HEADER.pack(message_type, flags, len(payload)) + payload


class FrameDecoder:
    """Takes chunks as they come off the network, gives the frames that are complete."""

    __slots__ = ("_buffer", "_bytes_max", "_wanted")

    def __init__(self, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._bytes_max = message_bytes_max
        self._buffer = bytearray()
        self._wanted = _HEADER.size
        """Bytes in the buffer before there is anything to do."""

    @property
    def unfinished(self) -> bool:
        """The stream ends in the middle of a frame if it ends here."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with this chunk. Errors: MessageTooLarge."""
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= self._wanted:
            message_type, flags, length = _HEADER.unpack_from(buffer, position)
            if length > self._bytes_max:
                raise MessageTooLarge(f"a message of {length} bytes came; at most {self._bytes_max} are taken.")
            end = position + _HEADER.size + length
            if len(buffer) < end:
                self._wanted = _HEADER.size + length
                break
            frame = Frame(message_type, flags, bytes(buffer[position + _HEADER.size : end]))
            position = end
            self._wanted = _HEADER.size
            yield frame
        del buffer[:position]
