"""Randomness for ids, seeds, salts and jitter."""

from __future__ import annotations

import os
from typing import Protocol


class Random(Protocol):
    def bytes(self, count: int) -> bytes: ...

    def fraction(self) -> float:
        """A float in [0, 1)."""
        ...


class SystemRandom:
    """`os.urandom`, fetched in blocks: an id costs a slice instead of a system call."""

    _BLOCK = 4096

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def bytes(self, count: int) -> bytes:
        if count > self._BLOCK:
            return os.urandom(count)
        if self._at + count > len(self._block):
            self._block = os.urandom(self._BLOCK)
            self._at = 0
        start = self._at
        self._at += count
        return self._block[start : self._at]

    def fraction(self) -> float:
        return int.from_bytes(self.bytes(6), "big") / (1 << 48)
