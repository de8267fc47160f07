"""Durable futures: asyncio futures that the engine completes.

Because they are futures of the handler's loop, they can be awaited, gathered, shielded and put under a timeout like any
other. A value is decoded when it arrives. Cancelling one (a timeout does) abandons the wait and has no durable effect.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure.model.ids import format_invocation_id
from perdure.model.journal import Failure
from perdure.sdk.declared_errors import Declared, error_from
from perdure.sdk.errors import DecodeError, error_of
from perdure.sdk.serde import in_words

if TYPE_CHECKING:
    from perdure.sdk.attempt import Attempt

T = TypeVar("T")


class Pending(Protocol):
    """What waits for a completion: it takes the result, and says whether anybody waits."""

    def resolve(self, result: bytes | Failure | list[str] | None) -> None: ...

    def wanted(self) -> bool: ...

    def fail(self, error: BaseException) -> bool:
        """Fail it if it is pending; False: nothing was."""
        ...


class Decoder(Protocol):
    def deserialize(self, buf: bytes) -> Any: ...


class DurableFuture(asyncio.Future[T]):
    """The outcome of a durable operation.

    `serde` None: the result is taken as it is. `name` and `completion_id` say which entry of the journal it is.
    """

    __slots__ = ("attempt", "completion_id", "name", "number", "serde")

    attempt: Attempt
    completion_id: int
    name: str
    number: int
    serde: Decoder | None

    def __hash__(self) -> int:
        return self.number

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        if self.done():
            return
        if type(result) is bytes:
            serde = self.serde
            if serde is not None:
                try:
                    codec = self.attempt.codec
                    self.set_result(serde.deserialize(result if codec is None else codec.decode(result)))
                except Exception as error:
                    self.fail(self._decode_error(error))
                return
            self.set_result(result)  # type: ignore[arg-type]
        elif type(result) is Failure:
            self.fail(error_from(result, self.errors))
        else:
            self.set_result(result)  # type: ignore[arg-type]

    @property
    def errors(self) -> Declared:
        """The classes that a failure may be raised as."""
        return self.attempt.handler.errors

    def wanted(self) -> bool:
        return not self.done()

    def fail(self, error: BaseException) -> bool:
        if self.done():
            return False
        self.set_exception(error)
        # Nobody needs to look at an outcome that the journal keeps anyway.
        self._log_traceback = False
        return True

    def cancel(self, msg: Any | None = None) -> bool:
        """Give up waiting, without any durable effect: what was asked for goes on."""
        if not super().cancel(msg):
            return False
        self.attempt.abandoned(self.completion_id)
        return True

    def _decode_error(self, error: Exception) -> DecodeError:
        what = self.name or f"entry {self.completion_id}"
        described = DecodeError(
            f"The recorded result of {what} cannot be read as the type the handler asks for: {in_words(error)}.",
            "Change the type back, or give it a default for what is missing, and resume the invocation.",
        )
        described.entry_name = what
        return described


class DurableSleepFuture(DurableFuture[None]):
    """A durable timer. Units: `wake_at_ms` is Unix time in milliseconds."""

    __slots__ = ("wake_at_ms",)

    wake_at_ms: int

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        self.attempt.timer_fired(self.completion_id, self.wake_at_ms)
        super().resolve(result)


class LoopTimer:
    """The durable timer behind the earliest of the loop's own timers (asyncio.sleep, timeouts)."""

    __slots__ = ("attempt", "completion_id", "wake_at_ms")

    def __init__(self, attempt: Attempt, completion_id: int, wake_at_ms: int) -> None:
        self.attempt = attempt
        self.completion_id = completion_id
        self.wake_at_ms = wake_at_ms

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        self.attempt.timer_fired(self.completion_id, self.wake_at_ms)

    def wanted(self) -> bool:
        return False  # counted by the attempt, which knows whether the loop still has a timer

    def fail(self, error: BaseException) -> bool:
        return False


class InvocationIdSlot:
    """The id of a call's or send's invocation: kept when it arrives, a future only when somebody asks for it."""

    __slots__ = ("attempt", "completion_id", "future", "raw")

    def __init__(self, attempt: Attempt, completion_id: int) -> None:
        self.attempt = attempt
        self.completion_id = completion_id
        self.raw: bytes | None = None
        self.future: DurableFuture[str] | None = None

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        if isinstance(result, bytes):
            self.raw = result
            if self.future is not None and not self.future.done():
                self.future.set_result(format_invocation_id(result))
        elif isinstance(result, Failure) and self.future is not None:
            self.future.fail(error_of(result))

    def wanted(self) -> bool:
        return self.attempt.cancel_waits or (self.future is not None and not self.future.done())

    def fail(self, error: BaseException) -> bool:
        return self.future is not None and self.future.fail(error)

    async def text(self) -> str:
        if self.raw is not None:
            return format_invocation_id(self.raw)
        if self.future is None or self.future.cancelled():
            self.future = self.attempt.new_future(self.completion_id, None, "invocation id")
        return await self.future


class DurableResultFuture(DurableFuture[T]):
    """The result of another invocation. `declared`: what its handler may have declared to raise."""

    __slots__ = ("declared",)

    declared: Declared

    @property
    def errors(self) -> Declared:
        return (*self.declared, *self.attempt.handler.errors)


class DurableCallFuture(DurableResultFuture[T]):
    """The result of a call to another handler."""

    __slots__ = ("callee",)

    callee: InvocationIdSlot

    def resolve(self, result: bytes | Failure | list[str] | None) -> None:
        self.attempt.child_done(self.completion_id)
        super().resolve(result)

    async def invocation_id(self) -> str:
        """The id of the called invocation, once it is known; its result may take longer."""
        return await self.callee.text()

    async def cancel_invocation(self) -> None:
        """Ask the called invocation to end. (`cancel()` only gives up waiting for it.)"""
        self.attempt.cancel_invocation(await self.callee.text())


class SendHandle:
    """A message sent to another handler."""

    __slots__ = ("_callee",)

    def __init__(self, callee: InvocationIdSlot) -> None:
        self._callee = callee

    async def invocation_id(self) -> str:
        """The id of the invocation that was sent, once it is known."""
        return await self._callee.text()

    async def cancel_invocation(self) -> None:
        """Ask the invocation to end."""
        self._callee.attempt.cancel_invocation(await self._callee.text())


RestateDurableFuture = DurableFuture
RestateDurableCallFuture = DurableCallFuture
RestateDurableSleepFuture = DurableSleepFuture
