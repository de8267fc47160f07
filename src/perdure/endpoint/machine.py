"""Restate's state machine of one attempt: the native part of the official SDK (`restate-sdk`), with types.

Bytes of the service protocol go in and come out; between them the machine checks each command against the journal, and
knows which answers have come. Everything here is a plain call on one thread. Nothing else imports the official SDK's insides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from restate import _internal as native  # type: ignore[attr-defined,unused-ignore]

from perdure.model.journal import Call, Failure, Headers, OneWayCall
from perdure.model.retry import StepRetryPolicy

MachineError: Final[type[Exception]] = native.VMException
"""The machine refused a call: a journal mismatch, a violated protocol. It has written the error for the server."""


class Identity:
    """The Restate servers that may invoke an app, by their public keys; none: every one."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Errors: ValueError for text that is no key."""
        try:
            self._verifier: Any = native.PyIdentityVerifier(list(keys))
        except native.IdentityKeyException as error:
            raise ValueError(str(error)) from error

    def refuses(self, headers: Iterable[tuple[str, str]], path: str) -> str | None:
        """Why a request is not from one of them, or None."""
        try:
            self._verifier.verify(list(headers), path)
        except native.IdentityVerificationException as error:
            return str(error)
        return None


@dataclass(slots=True, frozen=True)
class MachineInput:
    """What the invocation was asked with. `key` is "" for an unkeyed target."""

    invocation_id: str
    key: str
    headers: Headers
    body: bytes
    seed: int
    scope: str | None
    limit_key: str | None
    idempotency_key: str | None


class Completed:
    """One of the awaited has an answer."""


class Cancelled:
    """The invocation is to be cancelled; the machine has told its open calls already."""


class Waits:
    """Nothing can go on without more input, or the end of a running step."""


class Suspended:
    """Nothing can go on in this attempt: the machine has written what is waited for."""


@dataclass(slots=True, frozen=True)
class Execute:
    """This step is to be run now."""

    handle: int


Progress = Completed | Cancelled | Waits | Suspended | Execute
COMPLETED: Final = Completed()
CANCELLED: Final = Cancelled()
WAITS: Final = Waits()
SUSPENDED: Final = Suspended()


class Machine:
    """See the module. Handles are the machine's numbers for what an answer can come to."""

    def __init__(self, headers: Iterable[tuple[str, str]], *, compare_payloads: bool) -> None:
        """Errors: MachineError for a request that is not of a supported version of the protocol."""
        self._vm: Any = native.PyVM(list(headers), not compare_payloads, False)
        self._leaves: dict[int, Any] = {}
        """What stands for a handle in `progress`: made once, because a wide fan-out asks for all of them each time."""

    # --- bytes --------------------------------------------------------------------------------------------------------

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Status and headers of the response."""
        head = self._vm.get_response_head()
        return int(head.status_code), [(str(name), str(value)) for name, value in head.headers]

    def feed(self, data: bytes) -> None:
        self._vm.notify_input(data)

    def close_input(self) -> None:
        self._vm.notify_input_closed()

    def take_output(self) -> bytes:
        return bytes(self._vm.take_output() or b"")

    def ready(self) -> bool:
        """True once the journal has come. Errors: MachineError."""
        return bool(self._vm.is_ready_to_execute())

    def input(self) -> MachineInput:
        given = self._vm.sys_input()
        return MachineInput(
            invocation_id=given.invocation_id,
            key=given.key or "",
            headers=[(header.key, header.value) for header in given.headers],
            body=bytes(given.input),
            seed=given.random_seed,
            scope=given.scope,
            limit_key=given.limit_key,
            idempotency_key=given.idempotency_key,
        )

    # --- answers ------------------------------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        return bool(self._vm.is_replaying())

    def completed(self, handle: int) -> bool:
        """True when its answer has been found and not been taken."""
        return bool(self._vm.is_completed(handle))

    def progress(self, handles: Sequence[int]) -> Progress:
        """Look for the next answer, in journal order, until one of `handles` has one. Errors: MachineError."""
        leaves = self._leaves
        for handle in handles:
            if handle not in leaves:
                leaves[handle] = native.PyUnresolvedFuture.single(handle)
        outcome = self._vm.do_progress(
            native.PyUnresolvedFuture.first_completed([leaves[handle] for handle in handles])
        )
        if isinstance(outcome, native.PyDoProgressAnyCompleted):
            return COMPLETED
        if isinstance(outcome, native.PyDoProgressExecuteRun):
            return Execute(outcome.handle)
        if isinstance(outcome, native.PyDoProgressCancelSignalReceived):
            return CANCELLED
        return SUSPENDED if isinstance(outcome, native.PySuspended) else WAITS

    def take(self, handle: int) -> bytes | Failure | list[str] | str | None:
        """The answer of a completed handle; text is an invocation id, a list holds keys. Errors: MachineError."""
        answer = self._vm.take_notification(handle)
        self._leaves.pop(handle, None)
        if isinstance(answer, native.PyFailure):
            return Failure(answer.code, answer.message, dict(answer.metadata) if answer.metadata else None)
        if isinstance(answer, native.PyStateKeys):
            return [str(key) for key in answer.keys]
        if isinstance(answer, str):
            return answer
        return None if answer is None or isinstance(answer, native.PyVoid) else bytes(answer)

    # --- commands -----------------------------------------------------------------------------------------------------

    def get_state(self, key: str, name: str) -> int:
        return int(self._vm.sys_get_state(key, name or None))

    def get_state_keys(self, name: str) -> int:
        return int(self._vm.sys_get_state_keys(name or None))

    def set_state(self, key: str, value: bytes, name: str) -> None:
        self._vm.sys_set_state(key, value, name or None)

    def clear_state(self, key: str, name: str) -> None:
        self._vm.sys_clear_state(key, name or None)

    def clear_all_state(self, name: str) -> None:
        self._vm.sys_clear_all_state(name or None)

    def get_promise(self, key: str) -> int:
        return int(self._vm.sys_get_promise(key))

    def peek_promise(self, key: str) -> int:
        return int(self._vm.sys_peek_promise(key))

    def complete_promise(self, key: str, result: bytes | Failure) -> int:
        if isinstance(result, Failure):
            return int(self._vm.sys_complete_promise_failure(key, _native_failure(result)))
        return int(self._vm.sys_complete_promise_success(key, result))

    def sleep(self, delay_ms: int, name: str) -> int:
        return int(self._vm.sys_sleep(delay_ms, name or None))

    def call(self, call: Call) -> tuple[int, int]:
        """Handles of the callee's id and of its result."""
        target = call.target
        called = self._vm.sys_call(
            target.service,
            target.handler,
            call.body,
            target.key,
            call.idempotency_key,
            _native_headers(call.headers),
            call.scope,
            call.limit_key,
        )
        return int(called.invocation_id_handle), int(called.result_handle)

    def send(self, call: OneWayCall, delay_ms: int | None) -> int:
        """Handle of the new invocation's id."""
        target = call.target
        sent = self._vm.sys_send(
            target.service,
            target.handler,
            call.body,
            target.key,
            delay_ms,
            call.idempotency_key,
            _native_headers(call.headers),
            call.scope,
            call.limit_key,
        )
        return int(sent)

    def run(self, name: str) -> int:
        return int(self._vm.sys_run(name).handle)

    def attach(self, invocation_id: str) -> int:
        return int(self._vm.attach_invocation(invocation_id))

    def awakeable(self) -> int:
        """Handle of the next awakeable; they are numbered in the order of these calls."""
        return int(self._vm.sys_awakeable()[1])

    def complete_awakeable(self, awakeable_id: str, result: bytes | Failure) -> None:
        if isinstance(result, Failure):
            self._vm.sys_complete_awakeable_failure(awakeable_id, _native_failure(result))
        else:
            self._vm.sys_complete_awakeable_success(awakeable_id, result)

    def signal(self, name: str) -> int:
        return int(self._vm.sys_signal(name))

    def complete_signal(self, invocation_id: str, name: str, result: bytes | Failure) -> None:
        if isinstance(result, Failure):
            self._vm.sys_complete_signal_failure(invocation_id, name, _native_failure(result))
        else:
            self._vm.sys_complete_signal_success(invocation_id, name, result)

    def cancel(self, invocation_id: str) -> None:
        self._vm.sys_cancel(invocation_id)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def propose(self, handle: int, result: bytes | Failure) -> None:
        """The result of a step."""
        if isinstance(result, Failure):
            self._vm.propose_run_completion_failure(handle, _native_failure(result))
        else:
            self._vm.propose_run_completion_success(handle, result)

    def propose_retry(
        self,
        handle: int,
        failure: Failure,
        stacktrace: str,
        *,
        took_ms: int,
        retry: StepRetryPolicy | None,
        retry_after_ms: int | None,
    ) -> None:
        """A step failed: the machine ends the attempt, to be retried, or gives up as the step's policy says."""
        failed = native.PyFailure(failure.code, failure.message, stacktrace)
        if retry_after_ms is not None:
            self._vm.propose_run_completion_failure_transient_with_delay_override(
                handle,
                failed,
                took_ms,
                retry_after_ms,
                None if retry is None else retry.max_attempts,
                None if retry is None else retry.max_duration_ms,
            )
            return
        config = native.PyExponentialRetryConfig()
        if retry is not None:
            config = native.PyExponentialRetryConfig(
                retry.initial_interval_ms,
                retry.max_attempts,
                retry.max_duration_ms,
                retry.max_interval_ms,
                retry.factor,
            )
        self._vm.propose_run_completion_failure_transient(handle, failed, took_ms, config)

    def output(self, result: bytes | Failure) -> None:
        """The outcome of the handler, and the end of the invocation."""
        if isinstance(result, Failure):
            self._vm.sys_write_output_failure(_native_failure(result))
        else:
            self._vm.sys_write_output_success(result)
        self._vm.sys_end()

    def fail(self, message: str, stacktrace: str, retry_after_ms: int | None) -> None:
        """The attempt failed."""
        self._vm.notify_error(message, stacktrace, retry_after_ms)


def _native_failure(failure: Failure) -> object:
    metadata = list(failure.metadata.items()) if failure.metadata else None
    return native.PyFailure(failure.code, failure.message, None, metadata)


def _native_headers(headers: Headers) -> list[object] | None:
    return [native.PyHeader(key=key, value=value) for key, value in headers] or None
