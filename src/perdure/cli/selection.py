"""Which invocations a command is about: named by their ids, or all that match filters, after a confirmation."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from perdure.cli.admin import Admin, RequestFailed
from perdure.cli.tables import table

F = TypeVar("F", bound=Callable[..., object])
STATUSES = (
    "scheduled",
    "inboxed",
    "running",
    "backing-off",
    "suspended",
    "paused",
    "completed",
    "succeeded",
    "failed",
    "open",
)
SHOWN = 10
"""Invocations named in the question before a bulk operation."""


def filter_flags(command: F) -> F:
    for flag in (
        click.option("--key", metavar="KEY", help="Only those of this object or workflow key."),
        click.option("--handler", metavar="NAME", help="Only those of this handler."),
        click.option("--service", metavar="NAME", help="Only those of this service."),
        click.option(
            "--status", multiple=True, type=click.Choice(STATUSES), help="Only those with this status; may be repeated."
        ),
    ):
        command = flag(command)
    return command


def filters_of(status: tuple[str, ...], **others: str | None) -> dict[str, object]:
    given: dict[str, object] = {name: value for name, value in others.items() if value is not None}
    return {"status": list(status), **given} if status else given


def select(
    admin: Admin,
    verb: str,
    ids: tuple[str, ...],
    filters: dict[str, object],
    fitting: tuple[str, ...],
    *,
    everything: bool,
    yes: bool,
) -> list[str]:
    """The ids; with filters, those of invocations that the verb fits, once the person has said yes.

    Errors: click.UsageError for neither ids nor filters, or both; click.Abort.
    """
    if ids:
        if filters or everything:
            raise click.UsageError("name invocations by their ids or by filters, not by both")
        return list(ids)
    if not filters and not everything:
        raise click.UsageError(f"nothing to {verb}: name invocations by their ids, by filters, or all with --all")
    if "status" not in filters:
        filters = {**filters, "status": list(fitting)}
    found = list(admin.invocations(filters))
    if not found:
        return []
    if not yes:
        _ask(verb, found)
    return [str(each["id"]) for each in found]


def _ask(verb: str, found: list[dict[str, Any]]) -> None:
    rows = [(each["id"], each["target"], each["status"]) for each in found[:SHOWN]]
    with contextlib.redirect_stdout(sys.stderr):  # the question is no part of the output
        table(("id", "target", "status"), rows)
    if len(found) > SHOWN:
        click.echo(f"… and {len(found) - SHOWN} more", err=True)
    question = f"{verb.capitalize()} {len(found)} invocation{'s' if len(found) > 1 else ''}?"
    click.confirm(question, abort=True, err=True)


def for_each(ids: list[str], do: Callable[[str], str], *, as_json: bool, result_name: str | None = None) -> None:
    """Do it to each and say how it went; exit code 1 when it failed for any."""
    succeeded: list[object] = []
    failed: list[dict[str, str]] = []
    for invocation_id in ids:
        try:
            said = do(invocation_id)
        except RequestFailed as refused:
            failed.append({"invocation_id": invocation_id, "error": refused.what})
            if not as_json:
                click.echo(f"{invocation_id}  {refused.what}", err=True)
            continue
        succeeded.append(invocation_id if result_name is None else {"invocation_id": invocation_id, result_name: said})
        if not as_json:
            click.echo(f"{invocation_id}  {said}")
    if as_json:
        click.echo(json.dumps({"succeeded": succeeded, "failed": failed}))
    elif not ids:
        click.echo("nothing matches")
    if failed:
        sys.exit(1)
