"""What the groups of a context's operations share: the attempt they issue commands through, and the codec."""

from __future__ import annotations

from typing import Any

from perdure.model.driver import Capability
from perdure.sdk.attempt import Attempt
from perdure.sdk.errors import CapabilityError
from perdure.sdk.serde import Serde, written


class Operations:
    """The base of each group."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def _encode(self, serde: Serde[Any], value: Any) -> bytes:
        data = written(serde, value, f"A value that {self._attempt.start_info.target} writes")
        codec = self._attempt.codec
        return data if codec is None else codec.encode(data)

    def _require(self, capability: Capability) -> None:
        if capability not in self._attempt.driver.capabilities:
            raise CapabilityError(
                f"This engine has no {capability.value}.",
                "Run the handler on an engine that has it, such as `perdure serve`.",
            )
