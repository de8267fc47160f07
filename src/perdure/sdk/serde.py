"""Values to bytes and back: typed JSON by default, found from the annotation; never pickle.

`serde_for(annotation)` gives bytes as they are, pydantic models (bare or inside containers) through pydantic, and
everything else that msgspec knows (plain JSON, Structs, dataclasses, TypedDicts, datetimes, UUIDs, enums) through
msgspec. None is written as no bytes at all. pydantic is never imported here: an annotation can only contain a model when
the user has imported it already.
"""

from __future__ import annotations

import abc
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from perdure.sdk.errors import EncodeError, RetryableError, TerminalError

T = TypeVar("T")

_EMPTY = inspect.Parameter.empty


class Serde(abc.ABC, Generic[T]):
    """Turns values into bytes and back."""

    @abc.abstractmethod
    def deserialize(self, buf: bytes) -> T | None:
        """The value. What it raises is a 400 for the input of a request, and fails the attempt anywhere else."""

    @abc.abstractmethod
    def serialize(self, obj: T | None) -> bytes:
        """Its bytes; the same for the same value, because what a handler calls with is compared on replay."""


class BytesSerde(Serde[bytes]):
    """Bytes as they are; None is no bytes."""

    def deserialize(self, buf: bytes) -> bytes:
        return buf

    def serialize(self, obj: bytes | None) -> bytes:
        return b"" if obj is None else bytes(obj)


class _NotAwaited(TypeError):
    """A value holds a future or a coroutine."""


def _encode_unknown(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if inspect.isawaitable(value):
        raise _NotAwaited(f"a {type(value).__qualname__} was not awaited")
    raise NotImplementedError(f"a {type(value).__qualname__} cannot be written as JSON")


_encode = msgspec.json.Encoder(enc_hook=_encode_unknown).encode
_decode_any = msgspec.json.Decoder().decode


def encode_json(value: object) -> bytes:
    try:
        return _encode(value)
    except OverflowError:
        # Integers beyond 64 bits.
        return json.dumps(value, separators=(",", ":")).encode()


class JsonSerde(Serde[T]):
    """JSON without a type: what comes back are dicts, lists and scalars."""

    def deserialize(self, buf: bytes) -> T | None:
        return _decode_any(buf) if buf else None

    def serialize(self, obj: T | None) -> bytes:
        return b"" if obj is None else encode_json(obj)


class MsgspecJsonSerde(JsonSerde[T]):
    """JSON of a type that msgspec knows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        decoder = msgspec.json.Decoder(_any_for_object(model), dec_hook=_decode_unknown)
        self._decode: Callable[[bytes], T] = decoder.decode

    def deserialize(self, buf: bytes) -> T | None:
        return self._decode(buf) if buf else None

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return type(self), (self.model,)


def _any_for_object(annotation: Any) -> Any:
    """`Any` for each `object` in it, as in `dict[str, object]`: the same values, without a call from C for each."""
    if annotation is object:
        return Any
    if type(annotation) is not types.GenericAlias:
        return annotation
    origin: Any = annotation.__origin__
    return origin[tuple(map(_any_for_object, annotation.__args__))]


def _decode_unknown(kind: type, value: object) -> object:
    if kind is object:  # a field of a dataclass, TypedDict or Struct: whatever JSON holds
        return value
    validate: Any = getattr(kind, "model_validate", None)
    if validate is not None:  # a pydantic model inside a dataclass, TypedDict or Struct
        try:
            return validate(value)
        except ValueError as error:
            # msgspec adds where the model is.
            said = "; ".join(f"{path.lstrip('.')}: {what}" for path, what in _misfits(error))
            raise ValueError(said or str(error)) from error
    raise NotImplementedError(f"JSON cannot be read as a {kind.__qualname__}; give it a serde")


class PydanticJsonSerde(Serde[T]):
    """JSON of a pydantic model, or of a type that contains one."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._adapter: Any = None

    @property
    def adapter(self) -> Any:
        if self._adapter is None:
            from pydantic import TypeAdapter

            self._adapter = TypeAdapter(self.model)
        return self._adapter

    def deserialize(self, buf: bytes) -> T | None:
        return typing.cast(T, self.adapter.validate_json(buf)) if buf else None

    def serialize(self, obj: T | None) -> bytes:
        return b"" if obj is None else typing.cast(bytes, self.adapter.dump_json(obj))

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return type(self), (self.model,)


class DefaultSerde(Serde[T]):
    """Stands for "found from the type": replaced by `serde_for` wherever a type is known."""

    def __init__(self, type_hint: Any = None) -> None:
        self.type_hint = type_hint
        self._found: Serde[Any] = JSON if type_hint is None else serde_for(type_hint)

    def with_maybe_type(self, type_hint: Any = None) -> DefaultSerde[T]:
        return DefaultSerde(type_hint)

    def deserialize(self, buf: bytes) -> T | None:
        return self._found.deserialize(buf)

    def serialize(self, obj: T | None) -> bytes:
        return self._found.serialize(obj)

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return type(self), (self.type_hint,)


JSON: Serde[Any] = JsonSerde()
BYTES: Serde[Any] = BytesSerde()
DEFAULT_SERDE: DefaultSerde[Any] = DefaultSerde()
"""The default of every `serde` parameter: found from the type."""
_found: dict[Any, Serde[Any]] = {}


def chosen(serde: Serde[Any] | None, type_hint: Any) -> Serde[Any]:
    """The serde to use: the one given, unless that is the default one and a type is known."""
    if serde is None or is_default(serde):
        return JSON if type_hint is None else serde_for(type_hint)
    return serde


def is_default(serde: Serde[Any]) -> bool:
    """True when nobody chose a serde: the type, if one is known, decides."""
    return isinstance(serde, DefaultSerde) and serde.type_hint is None


def written(serde: Serde[Any], value: Any, what: str) -> bytes:
    """The bytes of a value; `what` names it, as in "The result of Shop/buy". Errors: EncodeError."""
    try:
        return serde.serialize(value)
    except (TerminalError, RetryableError):
        raise
    except Exception as error:
        kind = type(value).__qualname__
        if inspect.isawaitable(value):
            said, next_step = f"a {kind} was not awaited", _AWAIT_IT
        else:
            said, next_step = in_words(error), _AWAIT_IT if isinstance(error, _NotAwaited) else _USE_A_SERDE
        raise EncodeError(f"{what} (of type {kind}) cannot be serialized: {said}.", next_step) from error


_AWAIT_IT = "Await it: write `await` before the operation that it comes from."
_USE_A_SERDE = "Use another type (plain data, a dataclass, a pydantic model), or give a serde for this one."


def takes_nothing(serde: Serde[Any]) -> bool:
    """Whether no bytes at all are a value: false where a type is known that None does not belong to."""
    if not isinstance(serde, (MsgspecJsonSerde, PydanticJsonSerde)):
        return True
    try:
        serde.deserialize(b"null")
    except Exception:
        return False
    return True


def in_words(error: Exception) -> str:
    """Why a value could not be read, with the name of each field; pydantic's own words take several lines and a link."""
    return "; ".join(f"{what} - at `${path}`" for path, what in _misfits(error)) or str(error)


def _misfits(error: Exception) -> list[tuple[str, str]]:
    """Of a `ValidationError` of pydantic: where each field is that does not fit, as in `.items[0].name`, and why."""
    errors: Any = getattr(error, "errors", None)
    if errors is None or not type(error).__module__.startswith("pydantic"):
        return []
    told = errors(include_url=False, include_context=False, include_input=False)
    return [("".join(map(_step, each["loc"])), each["msg"]) for each in told]


def _step(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def serde_for(annotation: Any) -> Serde[Any]:
    if annotation is None or annotation is _EMPTY or annotation is Any or annotation is type(None):
        return JSON
    try:
        found = _found.get(annotation)
    except TypeError:
        return _find(annotation)
    if found is None:
        found = _found[annotation] = _find(annotation)
    return found


def _find(annotation: Any) -> Serde[Any]:
    if annotation in (bytes, bytearray, memoryview):
        return BYTES
    if isinstance(annotation, (str, TypeVar)):
        return JSON
    if contains_pydantic(annotation):
        return PydanticJsonSerde(annotation)
    try:
        return MsgspecJsonSerde(annotation)
    except TypeError:
        return JSON


def contains_pydantic(annotation: Any) -> bool:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return False
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return issubclass(annotation, pydantic.BaseModel) or hasattr(annotation, "__pydantic_validator__")
    # A constraint, as in `Annotated[int, Field(gt=0)]`, asks for pydantic as well.
    return type(annotation).__module__.partition(".")[0] == "pydantic" or any(
        contains_pydantic(argument) for argument in typing.get_args(annotation)
    )


def json_schema(annotation: Any) -> object | None:
    """The JSON Schema of an annotation; None where there is none to tell."""
    serde = serde_for(annotation)
    try:
        if isinstance(serde, PydanticJsonSerde):
            return typing.cast(object, serde.adapter.json_schema())
        if isinstance(serde, MsgspecJsonSerde):
            return _msgspec_schema(annotation)
    except Exception:
        # A type that can be read and written but not described.
        return None
    return None


def _msgspec_schema(annotation: Any) -> dict[str, Any]:
    referred: dict[str, Any] = {}

    def of_model(kind: Any) -> dict[str, Any]:
        schema: dict[str, Any] = kind.model_json_schema()
        referred.update(schema.pop("$defs", {}))
        return schema

    schema = msgspec.json.schema(annotation, schema_hook=of_model)
    return schema | {"$defs": referred | schema.get("$defs", {})} if referred else schema
