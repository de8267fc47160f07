"""`Connection`: one client of the PostgreSQL wire, from its first byte to its last.

What always holds: one statement runs at a time; nothing is changed by any; every message of a client is answered in order.
Transactions are taken and mean nothing: each statement sees the tables as they are when it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perdure.http.query.errors import QueryCancelled, QueryError
from perdure.http.query.messages import Answer
from perdure.http.query.postgres import protocol as p
from perdure.http.query.postgres.catalog import SERVER_VERSION, Catalog, NotInCatalog
from perdure.http.query.postgres.statements import BadParameter, Statement, literal, split, with_values
from perdure.http.query.queries import Queries
from perdure.model.errors import PerdureError

STATEMENTS_MAX = 1_000
_SETTINGS = {
    "server_version": SERVER_VERSION,
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "default_transaction_read_only": "on",
    "is_superuser": "off",
    "session_authorization": "perdure",
    "application_name": "",
}
_SHOWN = {
    **{name.lower(): value for name, value in _SETTINGS.items()},
    "transaction_isolation": "read committed",
    "transaction_read_only": "on",
    "search_path": "public",
    "max_identifier_length": "63",
}
_BEGIN = {"BEGIN", "START"}
_END = {"COMMIT", "END", "ROLLBACK", "ABORT"}
_NOTHING = {"SET", "RESET", "DISCARD", "DEALLOCATE", "SAVEPOINT", "RELEASE", "LISTEN", "UNLISTEN", "CLOSE"}
"""Taken, without effect: what they set is not here, and what they let go of is nothing."""


class Failed(Exception):
    """A statement is answered with an error."""

    def __init__(self, sqlstate: str, text: str, hint: str = "") -> None:
        self.sqlstate = sqlstate
        self.text = text
        self.hint = hint
        super().__init__(text)


@dataclass
class Prepared:
    statement: Statement | None
    """None: an empty one."""
    types: tuple[int, ...]


@dataclass
class Result:
    """What a statement gave: rows as messages, of which some may have been sent."""

    tag: str
    shape: bytes | None = None
    rows: bytes = b""
    count: int = 0
    sent: int = field(default=0)


@dataclass
class Portal:
    prepared: Prepared
    sql: str
    formats: list[int]
    result: Result | None = None


class Connection:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, queries: Queries, catalog: Catalog
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._queries = queries
        self._catalog = catalog
        self._status = b"I"
        self._statements: dict[str, Prepared] = {}
        self._portals: dict[str, Portal] = {}
        self._query: asyncio.Task[Answer] | None = None
        self._cancelled = False
        self._skipping = False
        """After an error, until the client's next Sync."""

    async def serve(self, key: bytes) -> None:
        """Until the client goes. Errors: ProtocolViolation, ConnectionError, IncompleteReadError."""
        self._send(p.AUTHENTICATION_OK)
        for name, value in _SETTINGS.items():
            self._send(p.parameter_status(name, value))
        self._send(key, p.ready(self._status))
        on: dict[bytes, Callable[[p.Body], object]] = {
            b"P": self._on_parse,
            b"B": self._on_bind,
            b"C": self._on_close,
        }
        while True:
            await self._writer.drain()
            kind = await self._reader.readexactly(1)
            body = p.Body(await self._body())
            if kind == b"X":
                return
            if kind == b"Q":
                await self._on_query(body.text())
            elif kind == b"S":
                self._skipping = False
                self._portals.clear()
                self._send(p.ready(self._status))
            elif kind == b"H":
                continue
            elif kind not in b"PBCDE" or self._skipping:
                if kind not in b"PBCDEdcf":
                    raise p.ProtocolViolation(f"a message of kind {kind!r} is not known here")
            else:
                try:
                    if kind == b"D":
                        await self._on_describe(body)
                    elif kind == b"E":
                        await self._on_execute(body)
                    else:
                        on[kind](body)
                except Failed as failed:
                    self._skipping = True
                    self._fail(failed)

    def cancel(self) -> None:
        """Stop the statement that runs, if one does."""
        if self._query is not None:
            self._cancelled = True
            self._query.cancel()

    async def _body(self) -> bytes:
        length = int.from_bytes(await self._reader.readexactly(4), "big") - 4
        if not 0 <= length <= p.MESSAGE_BYTES_MAX:
            raise p.ProtocolViolation(f"a message of {length} bytes; at most {p.MESSAGE_BYTES_MAX} are taken")
        return await self._reader.readexactly(length)

    def _send(self, *messages: bytes) -> None:
        for message in messages:
            self._writer.write(message)

    def _fail(self, failed: Failed) -> None:
        if self._status == b"T":
            self._status = b"E"
        self._send(p.error("ERROR", failed.sqlstate, failed.text, failed.hint))

    # --- the simple protocol ------------------------------------------------------------------------------------------

    async def _on_query(self, text: str) -> None:
        statements = split(text)
        if not statements:
            self._send(p.EMPTY_QUERY)
        try:
            for statement in statements:
                if statement.parameters:
                    raise Failed("42P02", f"there is no parameter ${statement.parameters}")
                result = await self._run(statement, statement.sql, [])
                if result.shape is not None:
                    self._send(result.shape, result.rows)
                self._send(p.command_complete(result.tag))
                await self._writer.drain()
        except Failed as failed:
            self._fail(failed)
        self._send(p.ready(self._status))

    # --- the extended protocol ----------------------------------------------------------------------------------------

    def _on_parse(self, body: p.Body) -> None:
        asked = p.parse(body)
        statements = split(asked.sql)
        if len(statements) > 1:
            raise Failed("42601", "cannot insert multiple commands into a prepared statement")
        if len(self._statements) >= STATEMENTS_MAX:
            raise Failed("53400", f"{STATEMENTS_MAX} statements are prepared already", "Close some.")
        self._statements[asked.name] = Prepared(statements[0] if statements else None, asked.types)
        self._send(p.PARSE_COMPLETE)

    def _on_bind(self, body: p.Body) -> None:
        asked = p.bind(body)
        prepared = self._prepared(asked.statement)
        formats = asked.formats
        if len(formats) not in (0, 1, len(asked.values)):
            raise Failed("08P01", f"{len(formats)} formats for {len(asked.values)} values")
        literals = []
        try:
            for number, value in enumerate(asked.values):
                oid = prepared.types[number] if number < len(prepared.types) else 0
                form = formats[number] if len(formats) > 1 else formats[0] if formats else 0
                literals.append(literal(value, oid, form))
            sql = "" if prepared.statement is None else with_values(prepared.statement, literals)
        except BadParameter as bad:
            raise Failed(bad.sqlstate, str(bad)) from None
        self._portals[asked.portal] = Portal(prepared, sql, list(asked.result_formats))
        self._send(p.BIND_COMPLETE)

    async def _on_describe(self, body: p.Body) -> None:
        what, name = body.bytes(1), body.text()
        if what == b"S":
            prepared = self._prepared(name)
            count = 0 if prepared.statement is None else prepared.statement.parameters
            types = [oid or 25 for oid in prepared.types[:count]] + [25] * (count - len(prepared.types))
            self._send(p.parameter_description(types), await self._shape_of(prepared) or p.NO_DATA)
            return
        portal = self._portal(name)
        if portal.prepared.statement is None:
            self._send(p.NO_DATA)
            return
        if portal.prepared.statement.word in _BEGIN | _END | _NOTHING:
            self._send(p.NO_DATA)
            return
        # Run here: only then the columns are known for sure, and Execute is about to follow.
        portal.result = await self._run(portal.prepared.statement, portal.sql, portal.formats)
        self._send(portal.result.shape or p.NO_DATA)

    async def _shape_of(self, prepared: Prepared) -> bytes | None:
        statement = prepared.statement
        if statement is None or statement.word in _BEGIN | _END | _NOTHING:
            return None
        nulls = with_values(statement, ["NULL"] * statement.parameters)
        if statement.catalog or statement.word == "SHOW":
            return (await self._run(statement, nulls, [])).shape
        return (await self._ask(nulls, [], shape_only=True)).shape

    async def _on_execute(self, body: p.Body) -> None:
        portal = self._portal(body.text())
        count = body.int32()
        statement = portal.prepared.statement
        if statement is None:
            self._send(p.EMPTY_QUERY)
            return
        result = portal.result
        if result is None:
            result = portal.result = await self._run(statement, portal.sql, portal.formats)
        end = len(result.rows) if count <= 0 else p.split_rows(result.rows, result.sent, count)
        self._send(result.rows[result.sent : end])
        result.sent = end
        self._send(p.PORTAL_SUSPENDED if end < len(result.rows) else p.command_complete(result.tag))

    def _on_close(self, body: p.Body) -> None:
        what, name = body.bytes(1), body.text()
        if what == b"S":
            self._statements.pop(name, None)
        else:
            self._portals.pop(name, None)
        self._send(p.CLOSE_COMPLETE)

    def _prepared(self, name: str) -> Prepared:
        prepared = self._statements.get(name)
        if prepared is None:
            raise Failed("26000", f'prepared statement "{name}" does not exist')
        return prepared

    def _portal(self, name: str) -> Portal:
        portal = self._portals.get(name)
        if portal is None:
            raise Failed("34000", f'portal "{name}" does not exist')
        return portal

    # --- statements ---------------------------------------------------------------------------------------------------

    async def _run(self, statement: Statement, sql: str, formats: list[int]) -> Result:
        """Errors: Failed."""
        word = statement.word
        if word in _END:
            tag = "ROLLBACK" if word in ("ROLLBACK", "ABORT") or self._status == b"E" else "COMMIT"
            self._status = b"I"
            return Result(tag)
        if self._status == b"E":
            why = "current transaction is aborted, commands ignored until end of transaction block"
            raise Failed("25P02", why)
        if word in _BEGIN:
            self._status = b"T"
            return Result("BEGIN")
        if word in _NOTHING:
            return Result("DISCARD ALL" if word == "DISCARD" else word)
        if word == "SHOW" and (shown := _SHOWN.get(_setting(sql))) is not None:
            return _table([(_setting(sql), 25)], [(shown,)], "SHOW")
        if statement.catalog:
            try:
                columns, rows = self._catalog.ask(sql)
            except NotInCatalog as unknown:
                raise Failed("0A000", str(unknown)) from None
            return _table(columns, rows, f"SELECT {len(rows)}")
        answer = await self._ask(sql, formats)
        tag = word if word in ("EXPLAIN", "SHOW") else f"SELECT {answer.rows}"
        return Result(tag, answer.shape, answer.body, answer.rows)

    async def _ask(self, sql: str, formats: list[int], *, shape_only: bool = False) -> Answer:
        form = "postgres-shape" if shape_only else "postgres"
        self._query = asyncio.ensure_future(self._queries.run(sql, form, binary=formats))  # type: ignore[arg-type]
        gone = asyncio.ensure_future(_gone(self._reader))
        try:
            await asyncio.wait((self._query, gone), return_when=asyncio.FIRST_COMPLETED)
            if not self._query.done():
                self._query.cancel()
            return await self._query
        except asyncio.CancelledError:
            if self._cancelled:
                raise _failed(QueryCancelled()) from None
            raise
        except PerdureError as error:
            raise _failed(error) from None
        finally:
            gone.cancel()
            if not self._query.done():
                self._query.cancel()
            self._query, self._cancelled = None, False


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed the connection: nobody waits for the answer."""
    while not reader.at_eof():  # noqa: ASYNC110
        await asyncio.sleep(0.5)


def _table(columns: list[tuple[str, int]], rows: Sequence[Sequence[str | None]], tag: str) -> Result:
    return Result(tag, p.row_description(columns), b"".join(p.data_row(row) for row in rows), len(rows))


def _setting(sql: str) -> str:
    name = sql.split(None, 1)[1].strip().lower() if len(sql.split(None, 1)) > 1 else ""
    return {"transaction isolation level": "transaction_isolation", "time zone": "timezone"}.get(name, name)


def _failed(error: PerdureError) -> Failed:
    match error:
        case QueryError():
            return Failed(error.sqlstate, error.what, error.next_step)
        case _:
            return Failed("57P03", error.what, error.next_step)
