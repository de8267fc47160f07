"""The tables of keys: `state` and `sys_promise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import pyarrow as pa

from perdure.http.query.messages import Need, Rows
from perdure.http.query.worker.building import Columns
from perdure.http.query.worker.codes import code_text
from perdure.model.ids import hash_key
from perdure.model.journal import Failure
from perdure.store.codec import checked, decode_promise
from perdure.store.rows import Promise


@dataclass(slots=True)
class Value:
    service: str
    key: str
    name: str
    value: bytes


@dataclass(slots=True)
class Promised:
    service: str
    key: str
    name: str
    promise: Promise


def text_of(value: bytes | None) -> str | None:
    """None for what is no text."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _value_of(promised: Promised) -> bytes | None:
    promise = promised.promise
    if not promise.completed or isinstance(promise.result, Failure):
        return None
    return promise.result if promise.result is not None else b""


def _failure_of(promised: Promised) -> str | None:
    result = promised.promise.result
    return f"[{code_text(result.code)}] {result.message}" if isinstance(result, Failure) else None


_StateColumns: TypeAlias = Mapping[str, Callable[[Value], object]]
_PromiseColumns: TypeAlias = Mapping[str, Callable[[Promised], object]]
STATE_COLUMNS: _StateColumns = MappingProxyType(
    {
        "partition_key": lambda row: hash_key(row.key),
        "service_name": lambda row: row.service,
        "service_key": lambda row: row.key,
        "key": lambda row: row.name,
        "key_length": lambda row: len(row.name.encode()),
        "value_utf8": lambda row: text_of(row.value),
        "value": lambda row: row.value,
        "value_length": lambda row: len(row.value),
        "service": lambda row: row.service,
        "service_key_utf8": lambda row: row.key,
    }
)
PROMISE_COLUMNS: _PromiseColumns = MappingProxyType(
    {
        "partition_key": lambda row: hash_key(row.key),
        "service_name": lambda row: row.service,
        "service_key": lambda row: row.key,
        "key": lambda row: row.name,
        "completed": lambda row: row.promise.completed,
        "completion_success_value": _value_of,
        "completion_success_value_utf8": lambda row: text_of(_value_of(row)),
        "completion_failure": _failure_of,
    }
)


class StateTable:
    def __init__(self, need: Need) -> None:
        self._columns = Columns(need, STATE_COLUMNS)

    def take(self, rows: Rows) -> None:
        self._columns.extend(
            [
                Value(service, key, name, checked("state", row, crc, (partition, service, key, name)))
                for partition, service, key, name, row, crc in rows.rows
            ]
        )

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()


class PromiseTable:
    def __init__(self, need: Need) -> None:
        self._columns = Columns(need, PROMISE_COLUMNS)

    def take(self, rows: Rows) -> None:
        self._columns.extend(
            [
                Promised(service, key, name, decode_promise(row, crc, (partition, service, key, name)))
                for partition, service, key, name, row, crc in rows.rows
            ]
        )

    def finish(self) -> list[pa.RecordBatch]:
        return self._columns.finish()
