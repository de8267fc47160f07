"""`perdure sql`: a query over the invocations, journals and state of a running server."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from perdure.cli.admin import Admin, admin_flags
from perdure.cli.tables import table

_NUMBERS = ("int", "uint", "float", "double", "decimal")


@click.command("sql")
@click.argument("query", required=False)
@admin_flags
def command(admin_url: str, as_json: bool, query: str | None) -> None:
    """Ask the server QUERY, or what stands on the standard input. It only reads; docs/sql.md has the tables."""
    if query is None:
        query = sys.stdin.read()
    _, body = Admin(admin_url).request("POST", "/perdure/query", body=json.dumps({"query": query}).encode())
    answer: dict[str, Any] = json.loads(body)
    columns, rows = answer["columns"], answer["rows"]
    if as_json:
        named = [{name: cell for name, cell in zip(columns, row, strict=True) if cell is not None} for row in rows]
        click.echo(json.dumps(named))
        return
    if columns:
        numbers = [at for at, kind in enumerate(answer["types"]) if kind.startswith(_NUMBERS)]
        table(columns, [[_cell(cell) for cell in row] for row in rows], numbers=numbers)
    click.echo(f"({len(rows)} row{'' if len(rows) == 1 else 's'})", err=True)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return value.replace("\n", "\\n")
        case list() | dict():
            return json.dumps(value)
        case _:
            return str(value)
