"""Rows as bytes: msgpack, and a CRC beside each, for what the checksums of pages do not see (docs/store-format.md).

The CRC covers the row's key and its content, so a row that was damaged, or that stands under another row's key, is refused
by table and key; nothing is returned that was not written.
"""

from __future__ import annotations

import zlib
from typing import Generic, TypeAlias, TypeVar, cast

import msgspec

from perdure.model.deployment import Deployment
from perdure.model.records import Message
from perdure.store.errors import RowCorrupt
from perdure.store.rows import Event, Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Timer

T = TypeVar("T")
Value: TypeAlias = int | str | bytes
Key: TypeAlias = tuple[Value, ...]

encode = msgspec.msgpack.Encoder().encode


def row_crc(key: Key, content: bytes = b"") -> int:
    """CRC-32 over the key columns as a msgpack array, then the row."""
    return zlib.crc32(content, zlib.crc32(encode(key)))


class RowDecoder(Generic[T]):
    """Decodes the rows of one table."""

    def __init__(self, table: str, row_type: object) -> None:
        self._table = table
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(cast("type[object]", row_type))

    def __call__(self, blob: object, crc: object, key: Key) -> T:
        content = checked(self._table, blob, crc, key)
        try:
            return cast(T, self._decoder.decode(content))
        except ValueError as error:  # msgspec's errors, and text that is no UTF-8
            raise corrupt(self._table, key, f"it does not decode ({error})") from error


def checked(table: str, blob: object, crc: object, key: Key) -> bytes:
    """The content of a row that is what it was when it was written. Errors: RowCorrupt."""
    # Damage can change the type of a column too.
    if type(blob) is not bytes or row_crc(key, blob) != crc:
        raise corrupt(table, key, "its checksum does not match")
    return blob


def checked_number(table: str, number: object, crc: object, key: Key) -> int:
    """The same for a row whose content is one integer."""
    if type(number) is not int or row_crc((*key, number)) != crc:
        raise corrupt(table, key, "its checksum does not match")
    return number


def corrupt(table: str, key: Key, why: str) -> RowCorrupt:
    shown = ", ".join(part.hex() if isinstance(part, bytes) else repr(part) for part in key)
    return RowCorrupt(
        f"Row ({shown}) of table {table} is damaged: {why}.",
        "Stop the node and restore the data directory, or rebuild the store from a complete log.",
    )


decode_invocation: RowDecoder[Invocation] = RowDecoder("invocation", Invocation)
decode_chunk: RowDecoder[JournalChunk] = RowDecoder("journal", JournalChunk)
decode_event: RowDecoder[Event] = RowDecoder("event", Event)
decode_key_queue: RowDecoder[KeyQueue] = RowDecoder("key_queue", KeyQueue)
decode_timer: RowDecoder[Timer] = RowDecoder("timer", Timer)
decode_message: RowDecoder[Message] = RowDecoder("outbox", Message)
decode_deployment: RowDecoder[Deployment] = RowDecoder("deployment", Deployment)
decode_promise: RowDecoder[Promise] = RowDecoder("promise", Promise)
decode_meta: RowDecoder[PartitionMeta] = RowDecoder("partition_meta", PartitionMeta)
