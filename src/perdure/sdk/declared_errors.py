"""Errors that a handler declares: they end it, and are raised as the same class where it was called.

They travel in the metadata of the terminal failure: the name of the class, and its public attributes as JSON. Whoever does
not know the class sees a plain `TerminalError` with the same message and code.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from perdure.model.journal import Failure
from perdure.sdk.errors import RegistrationError, TerminalError, causes, error_of, failure_of, terminal_cause
from perdure.sdk.serde import encode_json, serde_for

Declared: TypeAlias = tuple[type[Exception], ...]

NAME, FIELDS = "perdure.error", "perdure.error.fields"
_OF_TERMINAL = {"message", "status_code", "metadata"}


def declared(errors: Iterable[object]) -> Declared:
    """Errors: RegistrationError for something else than exception classes, or two of one name."""
    found: list[type[Exception]] = []
    for each in errors:
        if not (isinstance(each, type) and issubclass(each, Exception)) or each is Exception:
            raise RegistrationError(
                f"{each!r} cannot be declared as an error.", "Name classes of exceptions of your own."
            )
        found.append(each)
    if len({each.__name__ for each in found}) < len(found):
        raise RegistrationError("Two declared errors have the same name.", "Rename one of the classes.")
    return tuple(found)


def failure_from(error: BaseException, errors: Declared) -> Failure | None:
    """The terminal failure that an exception stands for; None: it is not terminal."""
    for link in causes(error) if errors else ():
        if isinstance(link, errors):
            return _written(link)
    terminal = terminal_cause(error)
    return None if terminal is None else failure_of(terminal)


def error_from(failure: Failure, errors: Declared) -> Exception:
    """The exception to raise for a failure: of the declared class where there is one."""
    return declared_error(failure, errors) or error_of(failure)


def declared_error(failure: Failure, errors: Declared) -> Exception | None:
    name = None if failure.metadata is None else failure.metadata.get(NAME)
    for each in errors if name is not None else ():
        if each.__name__ == name:
            assert failure.metadata is not None
            return _read(each, failure.metadata.get(FIELDS, "{}"), error_of(failure))
    return None


def _written(error: Exception) -> Failure:
    fields = {
        name: value for name, value in vars(error).items() if not name.startswith("_") and name not in _OF_TERMINAL
    }
    metadata = dict(getattr(error, "metadata", None) or {})
    metadata |= {NAME: type(error).__name__, FIELDS: encode_json(fields).decode()}
    code = getattr(error, "status_code", 500)
    return Failure(code if isinstance(code, int) else 500, str(error) or type(error).__name__, metadata)


def _read(kind: type[Exception], text: str, plain: TerminalError) -> Exception:
    error = kind.__new__(kind, plain.message)
    error.args = (plain.message,)
    values = typing.cast(dict[str, Any], msgspec.json.decode(text))
    hints = _hints(kind)
    vars(error).update({name: _typed(value, hints.get(name)) for name, value in values.items()})
    if isinstance(error, TerminalError):
        error.message, error.status_code, error.metadata = plain.message, plain.status_code, plain.metadata
    else:
        # Where nobody catches it, it ends the caller as any terminal error would.
        error.__cause__ = plain
    return error


def _hints(kind: type[Exception]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:
        return {}


def _typed(value: object, hint: Any) -> object:
    """A field as its annotation has it; as JSON gave it where there is none."""
    if hint is None:
        return value
    return serde_for(hint).deserialize(encode_json(value))
