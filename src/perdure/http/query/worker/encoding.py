"""Answers as bytes: JSON, and Arrow's IPC stream. (What PostgreSQL's clients get is in `postgres`.)"""

from __future__ import annotations

from typing import Protocol

import msgspec
import pyarrow as pa

from perdure.http.query.messages import Answer, Ask
from perdure.http.query.worker.refusals import TooMuch
from perdure.http.query.worker.values import json_values


class Encoder(Protocol):
    def add(self, batch: pa.RecordBatch) -> None:
        """Errors: TooMuch."""
        ...

    def answer(self) -> Answer: ...


def encoder_for(asked: Ask, schema: pa.Schema) -> Encoder:
    match asked.form:
        case "arrow":
            return ArrowEncoder(schema, asked.answer_bytes_max)
        case "json":
            return JsonEncoder(asked.answer_bytes_max)
        case "table":
            return TableEncoder(schema, asked.answer_bytes_max)
        case _:
            from perdure.http.query.worker.postgres import PostgresEncoder

            return PostgresEncoder(schema, asked.binary, asked.answer_bytes_max)


class Parts:
    """Bytes that are collected up to a bound."""

    def __init__(self, bytes_max: int) -> None:
        self._parts: list[bytes] = []
        self._bytes_max = bytes_max
        self.bytes = 0
        self.rows = 0

    def add(self, part: bytes, rows: int) -> None:
        """Errors: TooMuch."""
        self.bytes += len(part)
        self.rows += rows
        if self.bytes > self._bytes_max:
            raise TooMuch(f"the answer has more than {self._bytes_max} bytes: ask for fewer rows or columns")
        self._parts.append(part)

    def joined(self, separator: bytes = b"") -> bytes:
        return separator.join(self._parts)


class ArrowEncoder:
    def __init__(self, schema: pa.Schema, bytes_max: int) -> None:
        self._parts = Parts(bytes_max)
        self._schema = schema
        self._sink = _Sink(self._parts)
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._sink, mode="w"), schema)

    def add(self, batch: pa.RecordBatch) -> None:
        self._sink.rows = batch.num_rows
        # A plan may say less of its columns than its batches do, or give them by another name.
        self._writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))

    def answer(self) -> Answer:
        self._sink.rows = 0
        self._writer.close()
        return Answer(self._parts.joined(), self._parts.rows)


class _Sink:
    closed = False

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.rows = 0

    def write(self, data: bytes) -> int:
        self._parts.add(bytes(data), self.rows)
        self.rows = 0
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class JsonEncoder:
    """`{"rows":[{column: value}]}`, without the columns that hold nothing."""

    def __init__(self, bytes_max: int) -> None:
        self._parts = Parts(bytes_max)

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        # Most columns of a wide table hold nothing.
        said = [at for at, column in enumerate(batch.columns) if column.null_count < batch.num_rows]
        names = [batch.schema.names[at] for at in said]
        columns = [json_values(batch.columns[at]) for at in said]
        rows: list[dict[str, object]]
        if columns:
            rows = [
                {name: value for name, value in zip(names, values, strict=True) if value is not None}
                for values in zip(*columns, strict=True)
            ]
        else:
            rows = [{} for _ in range(batch.num_rows)]
        self._parts.add(msgspec.json.encode(rows)[1:-1], len(rows))

    def answer(self) -> Answer:
        return Answer(b'{"rows":[' + self._parts.joined(b",") + b"]}", self._parts.rows)


class TableEncoder:
    """`{"columns":[…],"types":[…],"rows":[[…]]}`: the columns in their order, for tables."""

    def __init__(self, schema: pa.Schema, bytes_max: int) -> None:
        self._schema = schema
        self._parts = Parts(bytes_max)

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows and batch.num_columns:
            rows = list(zip(*(json_values(column) for column in batch.columns), strict=True))
            self._parts.add(msgspec.json.encode(rows)[1:-1], len(rows))

    def answer(self) -> Answer:
        head = msgspec.json.encode({"columns": self._schema.names, "types": [str(each.type) for each in self._schema]})
        return Answer(head[:-1] + b',"rows":[' + self._parts.joined(b",") + b"]}", self._parts.rows)
