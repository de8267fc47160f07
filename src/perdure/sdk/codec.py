"""The one hook between serialized values and what is stored: encryption, compression.

Every value goes through it: inputs and outputs of handlers, results of steps, state, awakeables, promises, bodies of
calls. Failures do not.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

T = TypeVar("T")


class JournalValueCodec(abc.ABC):
    """Transforms serialized values; `decode` undoes `encode`. Empty values come too.

    `decode` may be written `async`, but must not wait: values are decoded while a handler's turn runs.
    """

    @abc.abstractmethod
    def encode(self, buf: bytes) -> bytes:
        """What is stored for this value. Deterministic where a value is compared on replay: the body of a call."""

    @abc.abstractmethod
    async def decode(self, buf: bytes) -> bytes:
        """The value that was encoded. What it raises fails the attempt, which is retried."""


JournalValueCodecProvider: TypeAlias = Callable[[], Awaitable[JournalValueCodec]]


class Codec(Protocol):
    """What the author's side calls."""

    def encode(self, value: bytes) -> bytes: ...

    def decode(self, value: bytes) -> bytes: ...


class CodecAdapter:
    """A `JournalValueCodec` (or the provider of one) as a plain codec."""

    def __init__(self, given: JournalValueCodec | JournalValueCodecProvider) -> None:
        self._given = given
        self._codec: JournalValueCodec | None = given if isinstance(given, JournalValueCodec) else None

    def encode(self, value: bytes) -> bytes:
        return bytes(self._ready().encode(value))

    def decode(self, value: bytes) -> bytes:
        return bytes(finish_now(self._ready().decode(value)))

    def _ready(self) -> JournalValueCodec:
        if self._codec is None:
            assert not isinstance(self._given, JournalValueCodec)
            self._codec = finish_now(self._given())
        return self._codec


def finish_now(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable that does not wait for anything."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("A journal value codec waited for something; do its set-up before the app is served.")
