"""Values to bytes and back, by annotation."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import subprocess
import sys
import uuid
from typing import Annotated, Any, Optional, TypedDict, Union

import msgspec
import pydantic
import pytest

from perdure.sdk.errors import EncodeError, TerminalError
from perdure.sdk.serde import (
    BYTES,
    JSON,
    DefaultSerde,
    MsgspecJsonSerde,
    PydanticJsonSerde,
    Serde,
    json_schema,
    serde_for,
    written,
)


class Model(pydantic.BaseModel):
    name: str
    at: datetime.date = datetime.date(2020, 1, 1)


class Struct(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Data:
    x: int
    inner: list[Struct]


class Typed(TypedDict):
    x: int


class Outer(pydantic.BaseModel):
    inner: Model


@dataclasses.dataclass
class Holder:
    """A model inside what is none."""

    model: Model
    more: list[Outer]


class TypedHolder(TypedDict):
    model: Model


class StructHolder(msgspec.Struct):
    holder: Holder | None = None


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (int, 2**80),
        (float, 1.5),
        (str, "ü"),
        (bool, True),
        (dict, {"a": [1, None]}),
        (list[int], [1, 2]),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (Optional[int], 4),
        (Union[int, str], "x"),
        (Struct, Struct(1)),
        (Data, Data(1, [Struct(2)])),
        (Typed, Typed(x=1)),
        (Colour, Colour.RED),
        (uuid.UUID, uuid.UUID(int=7)),
        (datetime.datetime, datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)),
        (decimal.Decimal, decimal.Decimal("1.10")),
        (Model, Model(name="a")),
        (list[Model], [Model(name="a")]),
        (Optional[Model], Model(name="a")),
        (dict[str, Model], {"k": Model(name="b")}),
        (Holder, Holder(Model(name="a"), [Outer(inner=Model(name="b"))])),
        (TypedHolder, TypedHolder(model=Model(name="a"))),
        (StructHolder, StructHolder(Holder(Model(name="a"), []))),
        (list[Holder], [Holder(Model(name="a"), [])]),
        (Annotated[int, pydantic.Field(gt=3)], 4),
        (bytes, b"\x00\xff"),
    ],
)
def test_a_value_comes_back_as_its_type(annotation: Any, value: Any) -> None:
    serde = serde_for(annotation)
    data = serde.serialize(value)
    assert isinstance(data, bytes)
    back = serde.deserialize(data)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize("annotation", [int, Struct, Model, bytes, None, Any])
def test_none_is_no_bytes(annotation: Any) -> None:
    serde = serde_for(annotation)
    assert serde.serialize(None) == b""
    assert serde.deserialize(b"") == (b"" if annotation is bytes else None)


def test_which_serde_serves_a_type() -> None:
    assert serde_for(bytes) is BYTES
    assert serde_for(None) is JSON
    assert isinstance(serde_for(Struct), MsgspecJsonSerde)
    assert isinstance(serde_for(list[Model]), PydanticJsonSerde)
    assert serde_for(Struct) is serde_for(Struct)


def test_a_type_nobody_knows_stays_plain_json_and_fails_loudly_when_written() -> None:
    class Opaque:
        pass

    with pytest.raises(NotImplementedError, match="Opaque"):
        serde_for(Opaque).serialize(Opaque())


def test_untyped_values_of_rich_types_are_written() -> None:
    assert JSON.serialize({"m": Model(name="a"), "d": Data(1, [])}) == (
        b'{"m":{"name":"a","at":"2020-01-01"},"d":{"x":1,"inner":[]}}'
    )


def test_json_that_does_not_fit_names_the_field() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.x"):
        serde_for(Struct).deserialize(b'{"x":"a"}')
    with pytest.raises(pydantic.ValidationError, match="name"):
        serde_for(Model).deserialize(b"{}")
    with pytest.raises(msgspec.ValidationError, match=r"^name: Field required; at: Input .* - at `\$\.holder\.model`$"):
        serde_for(StructHolder).deserialize(b'{"holder": {"model": {"at": []}, "more": []}}')
    with pytest.raises(pydantic.ValidationError, match="greater than 3"):
        serde_for(Annotated[int, pydantic.Field(gt=3)]).deserialize(b"3")


def test_schemas() -> None:
    assert json_schema(Struct)["$defs"]["Struct"]["required"] == ["x"]  # type: ignore[index]
    assert json_schema(Model)["properties"]["name"] == {"title": "Name", "type": "string"}  # type: ignore[index]
    defs = json_schema(Holder)["$defs"]  # type: ignore[index]
    assert set(defs["Holder"]["properties"]) == {"model", "more"}
    assert defs["Holder"]["properties"]["model"]["required"] == ["name"]
    assert defs["Model"]["required"] == ["name"], "what the schema of Outer refers to"
    assert json_schema(Annotated[int, pydantic.Field(gt=3)]) == {"exclusiveMinimum": 3, "type": "integer"}
    assert json_schema(int) == {"type": "integer"}
    assert json_schema(None) is None and json_schema(bytes) is None


def test_the_default_serde_with_a_type() -> None:
    assert DefaultSerde[Any]().with_maybe_type(Struct).deserialize(b'{"x":1}') == Struct(1)


def test_nothing_here_imports_pydantic_or_pickles_values() -> None:
    code = (
        "import perdure, sys; perdure.Service; perdure.app; perdure.Context; perdure.gather; perdure.getLogger;"
        "print([name for name in ('pydantic', 'uvicorn', 'starlette', 'apsw', 'anyio') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("annotation", [None, dict[str, object], Model, bytes])
async def test_a_forgotten_await_is_told(annotation: Any) -> None:
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(EncodeError, match=r"^PD0413: It \(of type Future\) .* a Future was not awaited\. Await it"):
        written(serde_for(annotation), future, "It")
    with pytest.raises(EncodeError, match=r"^PD0413: It \(of type list\) .* a Future was not awaited\. Await it"):
        written(JSON, [future], "It")


def test_a_type_that_json_does_not_have_is_named_with_the_next_step() -> None:
    with pytest.raises(EncodeError, match=r"It \(of type dict\) .* a object cannot be written as JSON.* give a serde"):
        written(JSON, {"a": object()}, "It")


def test_a_serde_may_end_the_invocation() -> None:
    class Strict(Serde[str]):
        def deserialize(self, buf: bytes) -> str:
            return buf.decode()

        def serialize(self, obj: str | None) -> bytes:
            raise TerminalError("no", 422)

    with pytest.raises(TerminalError, match="no"):
        written(Strict(), "x", "It")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (dict[str, object], b'{"a":[1,{"b":null}],"c":"d"}'),
        (list[dict[str, object]], b'[{"a":1.5},{}]'),
        (tuple[object, ...], b'[1,"x",[true]]'),
        (object, b'{"a":1}'),
        (dict[str, object] | None, b'{"a":1}'),
    ],
)
def test_object_is_whatever_json_holds(annotation: Any, text: bytes) -> None:
    serde = serde_for(annotation)
    value = serde.deserialize(text)
    assert value == type(value)(json.loads(text))
    assert serde.serialize(value) == text


def test_object_in_a_container_leaves_the_rest_as_strict_as_it_was() -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `array`"):
        serde_for(list[object]).deserialize(b"{}")
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        serde_for(dict[str, tuple[int, object]]).deserialize(b'{"a":["1",2]}')
