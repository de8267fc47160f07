"""Values to bytes and back, as in `restate.serde`."""

from perdure.sdk.serde import BytesSerde as BytesSerde
from perdure.sdk.serde import DefaultSerde as DefaultSerde
from perdure.sdk.serde import JsonSerde as JsonSerde
from perdure.sdk.serde import MsgspecJsonSerde as MsgspecJsonSerde
from perdure.sdk.serde import PydanticJsonSerde as PydanticJsonSerde
from perdure.sdk.serde import Serde as Serde

__all__ = [
    "BytesSerde",
    "DefaultSerde",
    "JsonSerde",
    "MsgspecJsonSerde",
    "PydanticJsonSerde",
    "Serde",
]
