"""How fast the disk syncs, and so whether a sync runs on the event loop's thread or beside it.

On a fast disk the hand-over to a thread and back costs more than the sync; on a slow one the loop must not stall. The
figures are in docs/decisions/0001-sync-inline-or-thread.md.
"""

from __future__ import annotations

from types import TracebackType

from perdure.env.clock import Clock

INLINE_BELOW_S = 0.001
"""Syncs run inline while the estimate is below this, and again when it falls to half of it."""
INLINE_BYTES_MAX = 256 * 1024
"""A larger batch always goes to the writer thread: writing it takes long on any disk."""
_WEIGHT = 1 / 8
_SAMPLE_S_MAX = 0.008
"""One slow sync among fast ones must not decide for long."""


class SyncPace:
    """Times syncs: `with pace: file.datasync()`. Used by one thread at a time."""

    PROBES = 3
    """Syncs that are timed when a log is opened."""

    def __init__(self, clock: Clock) -> None:
        self.estimate_s = 0.0
        self.inline = True
        self._monotonic = clock.monotonic
        self._samples = 0
        self._forced = False
        self._began = 0.0

    def is_small(self, batch_bytes: int) -> bool:
        return batch_bytes <= INLINE_BYTES_MAX

    def force(self, *, inline: bool) -> None:
        """Decide by hand, for measurements."""
        self.inline, self._forced = inline, True

    def __enter__(self) -> None:
        self._began = self._monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sample = self._monotonic() - self._began
        self._samples += 1
        if self._samples <= self.PROBES:
            # The first ones: the fastest of them is what the disk can do.
            self.estimate_s = sample if self._samples == 1 else min(self.estimate_s, sample)
        else:
            self.estimate_s += (min(sample, _SAMPLE_S_MAX) - self.estimate_s) * _WEIGHT
        if not self._forced:
            self.inline = self.estimate_s < (INLINE_BELOW_S if self.inline else INLINE_BELOW_S / 2)
