"""How the engine's side ends an attempt in the middle of a turn."""

from __future__ import annotations

from perdure.model.records import AttemptError


class AttemptOver(BaseException):
    """Raised out of `Driver.issue` through the handler's frames; not an Exception, so that `except Exception` lets it pass.

    A handler that catches it all the same changes nothing: the invoker looks at its own note, not at what came out.
    """

    def __init__(self, error: AttemptError, *, park: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.park = park
