"""Dev mode: what a handler's body uses that differs from replay to replay is flagged, with file, line and counterpart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class DevWatch:
    """Watches turns; see the next commit."""

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def flag_inline_call(self, func: Callable[..., Any]) -> None:
        pass
