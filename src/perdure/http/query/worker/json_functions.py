"""Functions of SQL that look into JSON, by the names that a Restate server has: `json_get_str(entry_json, 'name')` and others.

What always holds: what is no JSON, or has no such member, or a member of another type, gives NULL. A member is found by its
name, or by its position in an array. `json_get` gives what can be shown or cast: the text of the value. Longer paths and the
operators become calls of these (`json_syntax`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import msgspec
import pyarrow as pa
from datafusion import SessionContext, udf

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_Read: TypeAlias = Callable[[bytes], object]


def register(context: SessionContext) -> None:
    for name, (kind, read) in _OF_A_MEMBER.items():
        context.register_udf(udf(_of_a_member(kind, read), [pa.string(), pa.string()], kind, "immutable", name))
    context.register_udf(udf(_contains, [pa.string(), pa.string()], pa.bool_(), "immutable", "json_contains"))
    for name, (kind, read) in _OF_THE_WHOLE.items():
        context.register_udf(udf(_of_the_whole(kind, read), [pa.string()], kind, "immutable", name))


def _of_a_member(kind: pa.DataType, read: _Read) -> Callable[[pa.Array, pa.Array], pa.Array]:
    def column(texts: pa.Array, names: pa.Array) -> pa.Array:
        pairs = zip(texts.to_pylist(), names.to_pylist(), strict=True)
        found = (None if text is None or name is None else _member(text, name) for text, name in pairs)
        return pa.array([None if raw is None else read(raw) for raw in found], kind)

    return column


def _contains(texts: pa.Array, names: pa.Array) -> pa.Array:
    """Never NULL."""
    pairs = zip(texts.to_pylist(), names.to_pylist(), strict=True)
    found = [text is not None and name is not None and _member(text, name) is not None for text, name in pairs]
    return pa.array(found, pa.bool_())


def _of_the_whole(kind: pa.DataType, read: _Read) -> Callable[[pa.Array], pa.Array]:
    def column(texts: pa.Array) -> pa.Array:
        return pa.array([None if text is None else read(text.encode()) for text in texts.to_pylist()], kind)

    return column


def _member(text: str, name: str) -> bytes | None:
    found = _parts(text.encode())
    if isinstance(found, dict):
        raw = found.get(name)
    else:
        raw = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
    return None if raw is None else bytes(raw)


def _parts(text: bytes) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
    """Of an object or an array; of anything else there are none."""
    for decoder in (_MEMBERS, _ITEMS):
        try:
            return decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return []


def _value(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _string(raw: bytes) -> str | None:
    value = _value(raw)
    return value if isinstance(value, str) else None


def _integer(raw: bytes) -> int | None:
    value = _value(raw)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _number(raw: bytes) -> float | None:
    value = _value(raw)
    return float(value) if type(value) is int or type(value) is float else None


def _truth(raw: bytes) -> bool | None:
    value = _value(raw)
    return value if isinstance(value, bool) else None


def _as_text(raw: bytes) -> str | None:
    value = _value(raw)
    return value if isinstance(value, str) or value is None else raw.decode()


def _length(raw: bytes) -> int | None:
    value = _value(raw)
    return len(value) if isinstance(value, dict | list) else None


def _items(raw: bytes) -> list[str] | None:
    try:
        return [bytes(item).decode() for item in _ITEMS.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _names(raw: bytes) -> list[str] | None:
    value = _value(raw)
    return list(value) if isinstance(value, dict) else None


_OF_A_MEMBER: Mapping[str, tuple[pa.DataType, _Read]] = MappingProxyType(
    {
        "json_get_str": (pa.string(), _string),
        "json_get_int": (pa.int64(), _integer),
        "json_get_float": (pa.float64(), _number),
        "json_get_bool": (pa.bool_(), _truth),
        "json_get_json": (pa.string(), bytes.decode),
        "json_get_array": (pa.list_(pa.string()), _items),
        "json_as_text": (pa.string(), _as_text),
        "json_get": (pa.string(), _as_text),
    }
)
_OF_THE_WHOLE: Mapping[str, tuple[pa.DataType, _Read]] = MappingProxyType(
    {
        "json_length": (pa.uint64(), _length),
        "json_object_keys": (pa.list_(pa.string()), _names),
        "json_keys": (pa.list_(pa.string()), _names),
    }
)
