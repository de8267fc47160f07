"""Dev mode: what a handler's body uses that differs from replay to replay is flagged, with file, line and counterpart.

Raw clocks, sleeps and randomness raise no audit event, so a profile hook sees them while a turn runs; files, sockets and
processes raise one, so an audit hook does. Only calls made by user code in a body count: steps run outside turns, and the
standard library may look at the clock for itself. Each place is flagged once.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import datetime
import logging
import os
import random
import secrets
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

from perdure.sdk import guards
from perdure.sdk.errors import DeterminismWarning

_log = logging.getLogger("perdure.handler")

_CLOCK = "`await ctx.time()`"
_RANDOM = "`ctx.random()`"
_UUID = "`ctx.uuid()`"
_STEP = "a step: `await ctx.run_typed('name', function)`"

_BUILTINS: dict[Any, tuple[str, str]] = {
    time.time: ("time.time()", _CLOCK),
    time.time_ns: ("time.time_ns()", _CLOCK),
    time.monotonic: ("time.monotonic()", _CLOCK),
    time.perf_counter: ("time.perf_counter()", _CLOCK),
    time.sleep: ("time.sleep()", "`await ctx.sleep(...)`"),
    os.urandom: ("os.urandom()", _STEP),
}
_FUNCTIONS: dict[CodeType, tuple[str, str]] = {
    uuid.uuid1.__code__: ("uuid.uuid1()", _UUID),
    uuid.uuid4.__code__: ("uuid.uuid4()", _UUID),
    secrets.token_hex.__code__: ("secrets.token_hex()", _STEP),
    secrets.token_bytes.__code__: ("secrets.token_bytes()", _STEP),
    secrets.token_urlsafe.__code__: ("secrets.token_urlsafe()", _STEP),
}
_SHARED_RANDOM = random._inst
_NOW = {"now", "utcnow", "today"}
_AUDITED = {
    "open": "opening a file",
    "socket.connect": "connecting a socket",
    "socket.bind": "binding a socket",
    "socket.getaddrinfo": "a name look-up",
    "subprocess.Popen": "starting a process",
    "os.system": "starting a process",
}
_QUIET = ("importlib", "linecache", "traceback", "logging", "warnings", "tokenize")
"""Parts of the standard library that open files on behalf of nobody."""

_in_turn: set[int] = set()
"""Threads that are in a turn of a watched attempt."""
_active: list[DevWatch] = []
_hooked = False


class DevWatch:
    """Watches the turns of an app's attempts."""

    def __init__(self) -> None:
        self._flagged: set[tuple[str, str]] = set()
        self._before: Any = None
        self._muted = False
        # One object for good: the interpreter holds no reference of its own to the hook that it is just calling, and
        # crashes when another call of setprofile lets it go meanwhile.
        self._hook = self._see
        _add_audit_hook()

    def begin(self) -> None:
        self._before = sys.getprofile()
        _active.append(self)
        _in_turn.add(get_ident())
        sys.setprofile(self._hook)

    def end(self) -> None:
        sys.setprofile(self._before)
        _in_turn.discard(get_ident())
        _active.pop()

    def flag(self, what: str, instead: str, frame: FrameType | None) -> None:
        where = guards.user_line(frame)
        if (where, what) in self._flagged:
            return
        self._flagged.add((where, what))
        message = f"{what} in a handler's body gives something else on replay. Use {instead}."
        filename, _, line = where.rpartition(":")
        # Outside the turn's own hooks: warning and logging look at clocks and files themselves.
        self._muted = True
        _in_turn.discard(get_ident())
        try:
            _log.warning("%s: %s", where, message)
            warnings.warn_explicit(DeterminismWarning(message), DeterminismWarning, filename, int(line or 1))
        finally:
            _in_turn.add(get_ident())
            self._muted = False

    def flag_inline_call(self, func: Callable[..., Any]) -> None:
        name = getattr(func, "__qualname__", repr(func))
        self.flag(f"Running {name} in an executor", _STEP, sys._getframe(1))

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if self._muted:
            return
        if event == "c_call":
            found = _builtin(argument)
            caller: FrameType | None = frame
        elif event == "call":
            found = _FUNCTIONS.get(frame.f_code) or _shared_random(frame)
            caller = frame.f_back
        else:
            return
        if found is not None and caller is not None and not guards.is_internal(caller.f_code.co_filename):
            self.flag(*found, caller)


def _builtin(function: Any) -> tuple[str, str] | None:
    try:
        found = _BUILTINS.get(function)
    except TypeError:
        return None
    if found is not None:
        return found
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "")
    if owner is _SHARED_RANDOM:
        return f"random.{name}()", _RANDOM
    if name in _NOW and isinstance(owner, type) and issubclass(owner, datetime.date):
        return f"{owner.__name__}.{name}()", _CLOCK
    return None


def _shared_random(frame: FrameType) -> tuple[str, str] | None:
    code = frame.f_code
    if code.co_filename != random.__file__ or frame.f_locals.get("self") is not _SHARED_RANDOM:
        return None
    return f"random.{code.co_name}()", _RANDOM


def _add_audit_hook() -> None:
    """Once per process: an audit hook cannot be taken away."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _AUDITED or get_ident() not in _in_turn:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and guards.is_internal(filename := frame.f_code.co_filename):
        if any(part in filename for part in _QUIET):
            return
        frame = frame.f_back
    if frame is not None and _active:
        _active[-1].flag(_AUDITED[event][0].upper() + _AUDITED[event][1:], _STEP, frame)
