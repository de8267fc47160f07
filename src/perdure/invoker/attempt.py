"""An attempt as the pool sees it, wherever its handler runs: in this process (`local`) or in a deployment (`remote`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perdure.model.errors import PerdureError
    from perdure.model.journal import Awaiting, Notification

Key = tuple[int, int]
"""(partition, seq): by which the pool knows the invocation."""


class Attempt(Protocol):
    """What always holds: once `over`, it proposes nothing any more and has told the pool so."""

    @property
    def key(self) -> Key: ...

    @property
    def epoch(self) -> int: ...

    @property
    def over(self) -> bool: ...

    @property
    def idle_since(self) -> float:
        """Seconds of the loop's clock since when it only waits; 0: it does something."""
        ...

    @property
    def sleeps(self) -> dict[int, int]:
        """wake_at_ms by completion_id of the sleeps that have not fired."""
        ...

    @property
    def held_bytes(self) -> int:
        """About what it takes in memory."""
        ...

    @property
    def busy(self) -> bool:
        """True while something of it runs that a stop should wait for."""
        ...

    @property
    def settled(self) -> bool:
        """A replay of the journal leads to where it is."""
        ...

    @property
    def inactivity_timeout_s(self) -> float: ...

    def awaiting(self) -> Awaiting | None:
        """What the handler waits for, as far as is known; None: it does not wait."""
        ...

    def notify(self, notification: Notification, at_ms: int) -> None:
        """A notification stands in the journal. It is told when `pump` is called."""
        ...

    def pump(self) -> None:
        """Go on: begin, or tell what has come."""
        ...

    def flush_lagging(self) -> None:
        """What was held back has waited long enough."""
        ...

    def refuse(self, error: PerdureError) -> None:
        """The log did not take what it proposed: it is over, and the invocation pauses with the reason."""
        ...

    def may_suspend(self) -> bool:
        """True when the handler waits and leaving memory would lose nothing."""
        ...

    def suspend(self) -> None:
        """Leave memory: at once when it can (then it is `over`), else as soon as the other side agrees."""
        ...

    def abort(self) -> None:
        """The invocation was taken away, or the node ends: drop everything, propose nothing; what an attempt that is over
        left running ends as well."""
        ...
