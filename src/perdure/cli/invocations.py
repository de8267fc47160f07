"""`perdure invocations`: list, describe and control the invocations of a running server."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from perdure.cli.admin import Admin, admin_flags, quoted
from perdure.cli.selection import filter_flags, filters_of, for_each, select
from perdure.cli.tables import one_line, relative, table
from perdure.cli.timeline import print_described

F = TypeVar("F", bound=Callable[..., object])
LIVE = ("scheduled", "inboxed", "running", "backing-off", "suspended", "paused")


@click.group("invocations")
def command() -> None:
    """List, describe and control the invocations of a running server."""


# --- looking --------------------------------------------------------------------------------------------------------------


@command.command("list")
@filter_flags
@click.option("--limit", type=click.IntRange(min=1), default=50, metavar="N", help="At most this many [50].")
@admin_flags
def list_(
    admin_url: str,
    as_json: bool,
    limit: int,
    status: tuple[str, ...],
    service: str | None,
    handler: str | None,
    key: str | None,
) -> None:
    """List invocations, the newest first."""
    filters = filters_of(status, service=service, handler=handler, key=key)
    found = list(Admin(admin_url).invocations(filters, limit + 1))
    more = len(found) > limit
    found = found[:limit]
    if as_json:
        click.echo(json.dumps({"invocations": found, "more": more}))
        return
    now_ms = _now_ms()
    rows = [_row(each, now_ms) for each in found]
    table(("id", "target", "status", "created", "attempts", "note"), rows, numbers=(4,))
    if more:
        click.echo(f"… and more: --limit {limit * 2} shows them, filters narrow them down", err=True)


def _row(shown: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    failed = "failure" in shown
    return (
        shown["id"],
        shown["target"],
        "failed" if failed else shown["status"],
        relative(shown["created_at_ms"], now_ms),
        str(shown["attempts"]),
        _note(shown, now_ms),
    )


def _note(shown: dict[str, Any], now_ms: int) -> str:
    notes = []
    if shown["status"] == "scheduled":
        notes.append(f"starts {relative(shown['execute_at_ms'], now_ms)}")
    if "retry_at_ms" in shown:
        notes.append(f"next attempt {relative(shown['retry_at_ms'], now_ms)}")
    error = shown.get("failure") or (shown.get("last_error") if shown["status"] in ("paused", "backing-off") else None)
    if error:
        notes.append(f"{error['code']}: {one_line(error['message'])}")
    return "; ".join(notes)


@command.command()
@click.argument("invocation_id", metavar="ID")
@admin_flags
def describe(admin_url: str, as_json: bool, invocation_id: str) -> None:
    """Show one invocation: what it waits for, and its journal."""
    shown = Admin(admin_url).get(f"/perdure/invocations/{quoted(invocation_id)}")
    if as_json:
        click.echo(json.dumps(shown))
    else:
        print_described(shown, _now_ms())


@command.command()
@click.argument("invocation_id", metavar="ID")
@click.option(
    "--ingress-url",
    metavar="URL",
    envvar="PERDURE_INGRESS_URL",
    help="Ingress of the server [PERDURE_INGRESS_URL, or as its admin API says].",
)
@admin_flags
def attach(admin_url: str, as_json: bool, ingress_url: str | None, invocation_id: str) -> None:
    """Wait for the result of an invocation and print it. It comes as the handler gave it.

    However long that takes: also across restarts of the server. A failure is printed to stderr, and the exit code is 1.
    """
    # Here and not above: the other commands do not need it.
    from perdure.client.connecting import connect_sync
    from perdure.client.errors import CallFailed

    with connect_sync(ingress_url or Admin(admin_url).get("/version")["ingress_endpoint"]) as client:
        try:
            result = client.attach(invocation_id, type_hint=bytes)
        except CallFailed as failed:
            failure = {"code": failed.status_code, "message": failed.message, "metadata": failed.metadata or {}}
            if as_json:
                click.echo(json.dumps({"invocation_id": invocation_id, "failure": failure}))
            else:
                click.echo(f"{failed.status_code}: {failed.message}", err=True)
            sys.exit(1)
    if as_json:
        click.echo(json.dumps({"invocation_id": invocation_id, "value": _value(result)}))
    else:
        click.echo(result, nl=not result.endswith(b"\n"))


def _value(result: bytes) -> Any:
    """JSON as it is; what is none, as text or in base64."""
    try:
        return json.loads(result) if result else None
    except ValueError:
        try:
            return result.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(result).decode()}


def _now_ms() -> int:
    return int(time.time() * 1000)


# --- control --------------------------------------------------------------------------------------------------------------


def selecting(command: F) -> F:
    """Ids or filters, and how a bulk operation is confirmed."""
    for flag in (
        click.option("--yes", "-y", is_flag=True, help="Do not ask before a bulk operation."),
        click.option("--all", "everything", is_flag=True, help="All that the operation fits."),
        filter_flags,
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = flag(command)
    return admin_flags(command)


@command.command()
@selecting
def cancel(**asked: Any) -> None:
    """Ask invocations to end; their handlers may compensate. What has not started ends at once."""
    _patch("cancel", LIVE, {200: "has ended", 202: "was asked to end"}, **asked)


@command.command()
@selecting
def kill(**asked: Any) -> None:
    """End invocations now, with everything they called or sent. Their handlers are not asked and undo nothing."""
    _patch("kill", LIVE, {200: "killed"}, **asked)


@command.command()
@selecting
def pause(**asked: Any) -> None:
    """Stop started invocations until they are resumed."""
    _patch("pause", ("running", "backing-off", "suspended"), {200: "was paused already", 202: "paused"}, **asked)


@command.command()
@selecting
def resume(**asked: Any) -> None:
    """Let paused invocations go on. Those that back off try again now."""
    _patch("resume", ("paused", "backing-off"), {200: "goes on"}, **asked)


@command.command()
@selecting
@click.option("--journal", is_flag=True, help="Only the journal; the result stays.")
def purge(journal: bool, **asked: Any) -> None:
    """Forget finished invocations now, before their retention is over."""
    said = {200: "its journal is gone" if journal else "forgotten"}
    _patch("purge", ("completed",), said, route="purge-journal" if journal else "purge", **asked)


@command.command()
@selecting
@click.option(
    "--from",
    "from_index",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Keep the journal up to entry N, as `describe` numbers them [0: the input alone].",
)
def restart(from_index: int, **asked: Any) -> None:
    """Run finished invocations again, under new ids."""
    admin, ids = _selected("restart", ("completed",), **asked)

    def do(invocation_id: str) -> str:
        path = f"/invocations/{quoted(invocation_id)}/restart-as-new"
        _, body = admin.request("PATCH", path, {"from": from_index})
        return str(json.loads(body)["new_invocation_id"])

    for_each(ids, do, as_json=asked["as_json"], result_name="new_invocation_id")


@command.command()
@click.argument("invocation_id", metavar="ID")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--reject", metavar="REASON", help="Fail whoever waits for it, instead of giving a value.")
@admin_flags
def signal(admin_url: str, as_json: bool, invocation_id: str, name: str, value: str | None, reject: str | None) -> None:
    """Send a named signal to an invocation. VALUE is JSON, as `ctx.signal` reads it."""
    if value is not None:
        try:
            json.loads(value)
        except ValueError:
            raise click.UsageError(f"the value {value!r} is no JSON; quote a text, as in '\"yes\"'") from None
    path = f"/perdure/invocations/{quoted(invocation_id)}/signals/{quoted(name)}"
    body = (value or "") if reject is None else reject
    Admin(admin_url).request("POST", path if reject is None else f"{path}/reject", body=body.encode())
    click.echo(json.dumps({"succeeded": [invocation_id]}) if as_json else f"{invocation_id}  told '{name}'")


def _selected(verb: str, fitting: tuple[str, ...], **asked: Any) -> tuple[Admin, list[str]]:
    admin = Admin(asked["admin_url"])
    filters = filters_of(asked["status"], service=asked["service"], handler=asked["handler"], key=asked["key"])
    return admin, select(admin, verb, asked["ids"], filters, fitting, everything=asked["everything"], yes=asked["yes"])


def _patch(verb: str, fitting: tuple[str, ...], said: dict[int, str], route: str | None = None, **asked: Any) -> None:
    admin, ids = _selected(verb, fitting, **asked)

    def do(invocation_id: str) -> str:
        status, _ = admin.request("PATCH", f"/invocations/{quoted(invocation_id)}/{route or verb}")
        return said.get(status, f"answered {status}")

    for_each(ids, do, as_json=asked["as_json"])
