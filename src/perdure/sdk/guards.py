"""What a handler's body may not do, refused with the user's file and line: I/O outside a step, being woken from outside,
helpers whose order no replay repeats.

Refusals also mark the attempt as failed out of band, because user code may swallow the exception.
"""

# pyright: reportPrivateUsage=false
# asyncio's interface for other loops is spelled with underscores.

from __future__ import annotations

import asyncio
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn, Protocol

from perdure.sdk.errors import DirectIOError, OutsideWakeError, UnorderedError, UsedOutsideError

_STDLIB = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_SITE = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
_PERDURE = str(Path(__file__).parent.parent)
_ENSURE_FUTURE: CodeType = getattr(asyncio.tasks, "_ensure_future", asyncio.ensure_future).__code__
"""The function that turns a coroutine into a task; it has another name in Python 3.11."""


class Guarded(Protocol):
    """The attempt, as the guards see it."""

    cancelled: bool
    """The invocation was cancelled; what is durable and was pending then has failed."""

    @property
    def replaying(self) -> bool: ...

    def take_cancel(self) -> bool:
        """True once, for the first wait after a cancellation that found nothing pending."""
        ...

    def break_off(self, error: BaseException, *, park: bool) -> None:
        """Fail the attempt, whatever user code does with the exception."""
        ...

    def flag_inline_call(self, func: Callable[..., Any]) -> None: ...


class NoDirectIO:
    """The part of the event loop interface that does I/O or controls the loop: every call is refused."""

    __slots__ = ()

    attempt: Guarded


def user_line(frame: FrameType | None) -> str:
    """`file:line` of the innermost frame that is the user's own, else of the innermost that is nobody's library."""
    library: FrameType | None = None
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_internal(filename):
            if not filename.startswith(_SITE):
                return f"{filename}:{frame.f_lineno}"
            library = library or frame
        frame = frame.f_back
    return f"{library.f_code.co_filename}:{library.f_lineno}" if library is not None else "unknown line"


def is_internal(filename: str) -> bool:
    """True for the standard library and perdure itself."""
    if filename.startswith(_PERDURE) or filename.startswith("<frozen"):
        return True
    return filename.startswith(_STDLIB) and not filename.startswith(_SITE)


def refuse_io(attempt: Guarded, what: str, frame: FrameType | None) -> NoReturn:
    error = DirectIOError(
        f"{what} was called in a handler's body at {user_line(frame)}, outside a step.",
        "Put the I/O into a function and run it as a step: `await ctx.run_typed('name', function)`.",
    )
    attempt.break_off(error, park=True)
    raise error


def refuse_outside_wake(attempt: Guarded) -> NoReturn:
    error = OutsideWakeError(
        "A step, a thread or other code outside the handler tried to wake it, for instance by setting a future or an "
        "event that the handler waits for.",
        "Return the value from the step (`await ctx.run_typed(...)`), or resolve an awakeable.",
    )
    attempt.break_off(error, park=True)
    raise error


def refuse_use_outside(attempt: Guarded, frame: FrameType | None) -> NoReturn:
    error = UsedOutsideError(
        f"The context was used at {user_line(frame)}, outside the handler's body: in a step, a thread or another task. A "
        "replay does not run the step again, and would not ask for this operation.",
        "Return what the step has found, and let the handler use the context with it.",
    )
    attempt.break_off(error, park=True)
    raise error


def refuse_unordered(caller: FrameType, coroutine: Any) -> None:
    """asyncio.as_completed starts coroutines in the order of a set hashed by address."""
    if caller.f_code is not _ENSURE_FUTURE:
        return
    frame: FrameType | None = caller.f_back
    for _ in range(4):
        if frame is None:
            return
        if (
            frame.f_code.co_filename == _ENSURE_FUTURE.co_filename
            and "ascompleted" in frame.f_code.co_qualname.lower().replace("_", "")
        ):
            coroutine.close()
            raise UnorderedError(
                f"asyncio.as_completed over coroutines, at {user_line(frame)}, starts them in an order that differs from "
                "replay to replay.",
                "Use `perdure.as_completed(...)`, or pass tasks that were created in order.",
            )
        frame = frame.f_back


_REFUSED = """
add_reader add_signal_handler add_writer connect_accepted_socket connect_read_pipe connect_write_pipe
create_connection create_datagram_endpoint create_server create_unix_connection create_unix_server getaddrinfo
getnameinfo remove_reader remove_signal_handler remove_writer sendfile sock_accept sock_connect sock_recv
sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls subprocess_exec
subprocess_shell
"""
_CONTROL = """
close run_forever run_until_complete set_default_executor set_exception_handler set_task_factory
shutdown_asyncgens shutdown_default_executor stop
"""


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(self: NoDirectIO, *_args: Any, **_kwargs: Any) -> NoReturn:
        refuse_io(self.attempt, f"loop.{name}", sys._getframe(1))

    refused.__name__ = refused.__qualname__ = name
    return refused


def _refuse_control(name: str) -> Callable[..., NoReturn]:
    def refused(self: NoDirectIO, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise RuntimeError(f"loop.{name} does not exist on a handler's loop: the engine runs it.")

    refused.__name__ = refused.__qualname__ = name
    return refused


for _name in _REFUSED.split():
    setattr(NoDirectIO, _name, _refuse(_name))
for _name in _CONTROL.split():
    setattr(NoDirectIO, _name, _refuse_control(_name))
