"""The identity of an app: which code its handlers are, so that a replay under other code can be told.

A digest over the handlers' code objects (bytecode, constants, names; nested functions too), the Python minor and the
version of the loop: asyncio's own insides differ between minors.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any, cast

from perdure.sdk.handler import Handler
from perdure.sdk.loop import LOOP_VERSION


def identity_of(handlers: Iterable[Handler]) -> str:
    digest = hashlib.sha256(f"python {sys.version_info[0]}.{sys.version_info[1]} loop {LOOP_VERSION}".encode())
    for handler in sorted(handlers, key=lambda handler: (handler.service.name, handler.name)):
        digest.update(f"\n{handler.service.name}/{handler.name}/{handler.spec.kind.name}".encode())
        _add_function(digest.update, handler.function)
    return digest.hexdigest()


def _add_function(update: Callable[[bytes], object], function: Any) -> None:
    code = getattr(function, "__code__", None)
    if code is not None:
        _add_code(update, code)
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        _add_function(update, wrapped)


def _add_code(update: Callable[[bytes], object], code: CodeType) -> None:
    update(code.co_code)
    update(repr(code.co_names).encode())
    update(repr(code.co_varnames).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(update, constant)
        elif isinstance(constant, frozenset):
            # A set's repr follows its hashes, which differ from process to process.
            update(repr(sorted(repr(item) for item in cast(frozenset[object], constant))).encode())
        else:
            update(repr(constant).encode())
