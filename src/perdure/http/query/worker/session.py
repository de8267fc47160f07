"""`Session`: one query from its text to its answer.

It is planned twice. The first time over empty tables: the optimized plan says which tables, columns and rows it needs. The
second time over what the node has sent. Nothing but a query is ever taken: no statement that would change something.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
from datafusion import RuntimeEnvBuilder, SessionConfig, SessionContext, SQLOptions
from datafusion.dataframe import DataFrame

from perdure.http.query import messages as m
from perdure.http.query.schema import STATUS_VIEW, STATUS_VIEW_OF, TABLES
from perdure.http.query.worker import json_functions, json_syntax
from perdure.http.query.worker.arrow import EMPTY
from perdure.http.query.worker.building import BATCH_ROWS, Known
from perdure.http.query.worker.encoding import Encoder, encoder_for
from perdure.http.query.worker.needs import needs_of
from perdure.http.query.worker.refusals import NothingIsChanged, TooMuch, refused
from perdure.http.query.worker.tables import table_for


class Session:
    """One query at a time. `pool_bytes`: what sorts, joins and aggregations may hold."""

    def __init__(self, pool_bytes: int) -> None:
        self.context = _context(pool_bytes)
        json_functions.register(self.context)
        for table in TABLES:
            self._put(table, [])

    def run(self, asked: m.Ask, pipe_in: IO[bytes], pipe_out: IO[bytes]) -> m.Answer | m.Refused:
        """Errors: EOFError, BrokenPipeError when the node is gone."""
        try:
            return self._answer(asked, pipe_in, pipe_out)
        except (EOFError, BrokenPipeError):
            raise
        except NothingIsChanged as error:
            return m.Refused("read-only", str(error))
        except TooMuch as error:
            return m.Refused("size", str(error))
        except MemoryError:
            return m.Refused("memory", "the query needs more memory than it may take")
        except Exception as error:  # whatever DataFusion and Arrow raise: the text is for whoever wrote the query
            return refused(error)

    def _answer(self, asked: m.Ask, pipe_in: IO[bytes], pipe_out: IO[bytes]) -> m.Answer:
        planned = plan(self.context, asked.sql)
        if asked.form == "postgres-shape":
            return encoder_for(asked, planned.schema()).answer()
        needs = needs_of(planned)
        if not needs:
            return _encoded(asked, planned)
        m.send(pipe_out, m.Needs(needs))
        with self._filled(self._gather(needs, pipe_in)):
            return _encoded(asked, plan(self.context, asked.sql))

    def _gather(self, needs: list[m.Need], pipe_in: IO[bytes]) -> dict[str, list[pa.RecordBatch]]:
        facts = m.receive_from_node(pipe_in)
        assert isinstance(facts, m.Facts)
        known = Known(facts)
        building = {need.table: table_for(need, known) for need in needs}
        while isinstance(message := m.receive_from_node(pipe_in), m.Rows):
            building[message.table].take(message)
        return {table: each.finish() for table, each in building.items()}

    @contextlib.contextmanager
    def _filled(self, tables: dict[str, list[pa.RecordBatch]]) -> Iterator[None]:
        """With these rows for as long as it takes. Tables are changed and not made anew, which takes ten times as long."""
        for table, batches in tables.items():
            self._put(table, batches)
        try:
            yield
        finally:
            for table in tables:
                self._put(table, [])

    def _put(self, table: str, batches: list[pa.RecordBatch]) -> None:
        self.context.deregister_table(table)
        self.context.register_record_batches(table, [batches or [EMPTY[table]]])
        if table == STATUS_VIEW_OF:  # a view holds on to the table that it was made over
            self.context.deregister_table("sys_status")
            self.context.register_view("sys_status", self.context.sql(STATUS_VIEW))


def _encoded(asked: m.Ask, planned: DataFrame) -> m.Answer:
    encoder = encoder_for(asked, planned.schema())
    asyncio.run(_collect(planned, encoder))
    return encoder.answer()


async def _collect(planned: DataFrame, encoder: Encoder) -> None:
    async for batch in planned.execute_stream():
        encoder.add(batch.to_pyarrow())


def _context(pool_bytes: int) -> SessionContext:
    config = (
        SessionConfig()
        .with_information_schema(True)
        .with_create_default_catalog_and_schema(True)
        .with_default_catalog_and_schema("restate", "public")
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
    )
    runtime = RuntimeEnvBuilder().with_disk_manager_disabled().with_greedy_memory_pool(pool_bytes)
    return SessionContext(config, runtime)


_CHANGES = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|CREATE|DROP|ALTER|COPY|GRANT|REVOKE|SET)\b",
    re.IGNORECASE | re.DOTALL,
)


def plan(context: SessionContext, sql: str) -> DataFrame:
    if change := _CHANGES.match(sql):
        raise NothingIsChanged(f"{change[1].upper()} is refused: SQL only reads here")
    only_queries = SQLOptions().with_allow_ddl(False).with_allow_dml(False).with_allow_statements(False)
    return context.sql_with_options(json_syntax.rewritten(sql), only_queries)
