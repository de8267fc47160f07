"""Reading and writing the state of a key."""

from __future__ import annotations

from typing import Any, TypeVar

from perdure.model.journal import (
    ClearAllState,
    ClearState,
    Failure,
    GetEagerState,
    GetEagerStateKeys,
    GetLazyState,
    GetLazyStateKeys,
    SetState,
)
from perdure.model.target import HandlerKind
from perdure.sdk.attempt import Attempt
from perdure.sdk.errors import StateRefused
from perdure.sdk.futures import DurableFuture
from perdure.sdk.operations import Operations
from perdure.sdk.serde import DEFAULT_SERDE, Serde, chosen
from perdure.sdk.state import RecordedCommands, StateView, plan_keys, plan_read

T = TypeVar("T")


class StateOperations(Operations):
    """See `context` for what each means."""

    __slots__ = ("_recorded", "_state")

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt)
        self._state: StateView | None = None
        self._recorded: RecordedCommands | None = None

    def key(self) -> str:
        key = self._attempt.start_info.target.key
        if key is None:
            raise StateRefused(
                f"{self._attempt.start_info.target} has no key, and so no state: it is a handler of a plain service.",
                "Make the service a VirtualObject, and call its handlers with a key.",
            )
        return key

    def get(
        self,
        name: str,
        serde: Serde[Any] = DEFAULT_SERDE,
        type_hint: Any = None,
        entry_name: str | None = None,
        *,
        default: Any = None,
    ) -> DurableFuture[Any]:
        attempt = self._attempt
        view = self._view()
        decoder = _StateDecoder(view, name, chosen(serde, type_hint), default)
        future: DurableFuture[Any]
        planned = plan_read(view, self._recorded_command(), name)
        if planned is not None:
            value = attempt.issue(GetEagerState(name, planned.value, entry_name or "")).value
            future = attempt.prepare(_StateFuture(loop=attempt.loop), 0, decoder, f"state {name}")
            future.resolve(value)
            return future
        number = attempt.next_completion()
        attempt.issue(GetLazyState(number, name, entry_name or ""))
        future = attempt.prepare(_StateFuture(loop=attempt.loop), number, decoder, f"state {name}")
        attempt.expect(number, future)
        return future

    def state_keys(self, entry_name: str | None = None) -> DurableFuture[list[str]]:
        attempt = self._attempt
        keys = plan_keys(self._view(), self._recorded_command())
        if keys is not None:
            keys = attempt.issue(GetEagerStateKeys(keys, entry_name or "")).keys
            future = attempt.new_future(0, None, "state keys")
            future.resolve(keys)
            return future
        number = attempt.next_completion()
        attempt.issue(GetLazyStateKeys(number, entry_name or ""))
        future = attempt.new_future(number, None, "state keys")
        attempt.expect(number, future)
        return future

    def set(self, name: str, value: Any, serde: Serde[Any] = DEFAULT_SERDE, entry_name: str | None = None) -> None:
        self._check_writable()
        data = self._encode(serde, value)
        self._attempt.issue(SetState(name, data, entry_name or ""))
        self._view().set(name, data)

    def clear(self, name: str, entry_name: str | None = None) -> None:
        self._check_writable()
        self._attempt.issue(ClearState(name, entry_name or ""))
        self._view().clear(name)

    def clear_all(self, entry_name: str | None = None) -> None:
        self._check_writable()
        self._attempt.issue(ClearAllState(entry_name or ""))
        self._view().clear_all()

    def _view(self) -> StateView:
        if self._state is None:
            start = self._attempt.start_info
            self.key()
            self._state = StateView(start.state, start.state_partial)
        return self._state

    def _recorded_command(self) -> Any:
        if self._recorded is None:
            self._recorded = RecordedCommands(self._attempt.start_info.journal)
        return self._recorded.at(self._attempt.issued)

    def _check_writable(self) -> None:
        self.key()
        if self._attempt.handler.spec.kind is HandlerKind.SHARED:
            raise StateRefused(
                f"{self._attempt.start_info.target} is a shared handler and cannot write state.",
                'Declare it with kind="exclusive", or send to a handler that is.',
            )


class _StateFuture(DurableFuture[T]):
    """A value of the state, or its default."""

    __slots__ = ()

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        decoder = self.serde
        assert isinstance(decoder, _StateDecoder)
        if result is None or isinstance(result, bytes):
            decoder.view.learn(decoder.key, result)
        if result is None and not self.done():
            self.set_result(decoder.default)
        else:
            super().resolve(result)


class _StateDecoder:
    __slots__ = ("default", "deserialize", "key", "view")

    def __init__(self, view: StateView, key: str, serde: Serde[Any], default: Any) -> None:
        self.view = view
        self.key = key
        self.deserialize = serde.deserialize
        self.default = default
