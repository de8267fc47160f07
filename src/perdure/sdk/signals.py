"""What comes from outside, and what goes to others' waiting: awakeables, named signals, promises."""

from __future__ import annotations

from typing import Any, TypeVar

from perdure.model.driver import Capability
from perdure.model.ids import format_awakeable_id, parse_awakeable_id
from perdure.model.journal import CompleteAwakeable, Failure, SendSignal
from perdure.sdk.durable_promise import DurablePromise
from perdure.sdk.errors import CapabilityError, TerminalError
from perdure.sdk.futures import DurableFuture
from perdure.sdk.invocation_ids import raw_invocation_id
from perdure.sdk.operations import Operations
from perdure.sdk.promises import Promise
from perdure.sdk.serde import DEFAULT_SERDE, Serde, chosen

T = TypeVar("T")


class SignalOperations(Operations):
    """See `context` for what each means."""

    __slots__ = ()

    def awakeable(
        self, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> tuple[str, DurableFuture[T]]:
        attempt = self._attempt
        signal = attempt.next_awakeable()
        name = format_awakeable_id(attempt.start_info.invocation_id, signal)
        future = attempt.new_future(0, chosen(serde, type_hint), "awakeable")
        attempt.expect_signal(signal, future)
        return name, future

    def awakeable_url(self, awakeable_id: str) -> str:
        _checked(awakeable_id)
        ingress_url = self._attempt.start_info.ingress_url
        if ingress_url is None:
            raise CapabilityError(
                "This engine does not know where the outside reaches it.",
                "Set `ingress_url` (docs/settings.md); an embedded node takes it as `Node(..., ingress_url=...)`.",
            )
        return f"{ingress_url}/restate/awakeables/{awakeable_id}/resolve"

    def resolve_awakeable(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        self._complete_awakeable(name, self._encode(serde, value))

    def reject_awakeable(self, name: str, failure_message: str, failure_code: int = 500) -> None:
        self._complete_awakeable(name, Failure(failure_code, failure_message))

    def _complete_awakeable(self, name: str, result: bytes | Failure) -> None:
        _checked(name)
        self._attempt.issue(CompleteAwakeable(name, result))

    def signal(self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None) -> DurableFuture[T]:
        future = self._attempt.new_future(0, chosen(serde, type_hint), f"signal {name}")
        self._attempt.expect_signal(name, future)
        return future

    def resolve_signal(self, invocation_id: str, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE) -> None:
        self._attempt.issue(SendSignal(raw_invocation_id(invocation_id), name, self._encode(serde, value)))

    def reject_signal(self, invocation_id: str, name: str, failure_message: str, failure_code: int = 500) -> None:
        self._attempt.issue(SendSignal(raw_invocation_id(invocation_id), name, Failure(failure_code, failure_message)))

    def promise(
        self, name: str, serde: Serde[T] = DEFAULT_SERDE, type_hint: type[T] | None = None
    ) -> DurablePromise[T]:
        self._require(Capability.PROMISES)
        return Promise(self._attempt, name, chosen(serde, type_hint))


def _checked(awakeable_id: str) -> None:
    try:
        parse_awakeable_id(awakeable_id)
    except ValueError as error:
        raise TerminalError(f"bad awakeable id: {error}", 400) from error
