"""The Arrow schemas of the tables, and columns made of Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from perdure.http.query.schema import NOT_NULL, TABLES

_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.large_utf8(),
    "binary": pa.large_binary(),
    "u32": pa.uint32(),
    "u64": pa.uint64(),
    "bool": pa.bool_(),
    "ts": pa.timestamp("ms", "+00:00"),
    "dur": pa.duration("ms"),
    "list<u32>": pa.list_(pa.uint32()),
    "list<string>": pa.list_(pa.large_utf8()),
}

SCHEMAS: Mapping[str, pa.Schema] = {
    table: pa.schema(
        [pa.field(name, _TYPES[kind], nullable=(table, name) not in NOT_NULL) for name, kind in columns.items()]
    )
    for table, columns in TABLES.items()
}

EMPTY: Mapping[str, pa.RecordBatch] = {
    table: pa.RecordBatch.from_pylist([], schema=schema) for table, schema in SCHEMAS.items()
}


def batch(table: str, columns: Mapping[str, Sequence[object]], rows: int) -> pa.RecordBatch:
    """A batch of this table; columns that are not given hold nothing."""
    schema = SCHEMAS[table]
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else _nothing(field, rows)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nothing(field: pa.Field, rows: int) -> pa.Array:
    return pa.nulls(rows, field.type) if field.nullable else pa.array([""] * rows, field.type)
