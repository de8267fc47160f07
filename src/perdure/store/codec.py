"""Rows as bytes: msgpack, and a CRC beside each, because SQLite checks none of its pages.

A row that fails its CRC, does not decode, or is not the row its key names is refused by table and key; nothing is
returned that was not written.
"""

from __future__ import annotations

import zlib
from typing import Generic, TypeVar, cast

import msgspec

from perdure.model.records import Message
from perdure.store.errors import RowCorrupt
from perdure.store.rows import Invocation, JournalChunk, KeyQueue, PartitionMeta, Promise, Timer

T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode
crc32 = zlib.crc32


class RowDecoder(Generic[T]):
    """Decodes the rows of one table."""

    def __init__(self, table: str, row_type: object) -> None:
        self._table = table
        self._decoder: msgspec.msgpack.Decoder[object] = msgspec.msgpack.Decoder(cast("type[object]", row_type))

    def __call__(self, blob: bytes, crc: int, key: object) -> T:
        if crc32(blob) != crc:
            raise corrupt(self._table, key, "its checksum does not match")
        try:
            return cast(T, self._decoder.decode(blob))
        except (msgspec.DecodeError, ValueError) as error:
            raise corrupt(self._table, key, f"it does not decode ({error})") from error


def corrupt(table: str, key: object, why: str) -> RowCorrupt:
    return RowCorrupt(
        f"Row {key!r} of table {table} is damaged: {why}.",
        "Stop the node and restore the data directory, or rebuild the store from a complete log.",
    )


def number_crc(*numbers: int) -> int:
    """CRC of a row that is only integers."""
    return crc32(repr(numbers).encode())


def id_crc(invocation_id: bytes, seq: int) -> int:
    return crc32(invocation_id, seq & 0xFFFFFFFF)


decode_invocation: RowDecoder[Invocation] = RowDecoder("invocation", Invocation)
decode_chunk: RowDecoder[JournalChunk] = RowDecoder("journal", JournalChunk)
decode_key_queue: RowDecoder[KeyQueue] = RowDecoder("key_queue", KeyQueue)
decode_timer: RowDecoder[Timer] = RowDecoder("timer", Timer)
decode_message: RowDecoder[Message] = RowDecoder("outbox", Message)
decode_promise: RowDecoder[Promise] = RowDecoder("promise", Promise)
decode_meta: RowDecoder[PartitionMeta] = RowDecoder("partition_meta", PartitionMeta)
