"""`perdure deployments`: where the services of a running server run, beside its own app."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click

from perdure.cli.admin import Admin, admin_flags, quoted
from perdure.cli.tables import table

LOCAL = "in-process://"
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group("deployments")
def command() -> None:
    """Register, list, describe and remove the deployments of a running server."""


@command.command()
@click.argument("uri", metavar="URL")
@click.option("--force", is_flag=True, help="Ask a known address again and write its deployment anew.")
@click.option("--breaking", is_flag=True, help="Allow services to become of another type.")
@click.option("--http1", is_flag=True, help="Speak HTTP/1.1 with it: request and response, one after the other.")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="Sent with each request to it.")
@click.option("--metadata", metavar="NAME=VALUE", multiple=True, help="Noted with the deployment.")
@click.option("--dry-run", is_flag=True, help="Show what would be registered, and change nothing.")
@YES
@admin_flags
def register(
    admin_url: str,
    as_json: bool,
    uri: str,
    force: bool,
    breaking: bool,
    http1: bool,
    headers: tuple[str, ...],
    metadata: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Register what URL serves: its services take new invocations."""
    admin = Admin(admin_url)
    request = {
        "uri": uri if "://" in uri else f"http://{uri}",
        "additional_headers": _pairs(headers, "--header") or None,
        "metadata": _pairs(metadata, "--metadata") or None,
        "use_http_11": http1,
        "force": force,
        "breaking": breaking,
    }
    if dry_run or not yes:
        status, found = _post(admin, {**request, "dry_run": True})
        if dry_run and as_json:
            click.echo(json.dumps(found))
            return
        if dry_run or (status == 201 or force):
            with contextlib.redirect_stdout(sys.stdout if dry_run else sys.stderr):
                _print_services(found)
        if dry_run:
            return
        if status == 201 or force:
            click.confirm("Register this?", abort=True, err=True)
    status, found = _post(admin, {**request, "dry_run": False})
    if as_json:
        click.echo(json.dumps(found))
    elif status == 201 or force:
        _print_services(found)
        click.echo(f"registered as {found['id']}")
    else:
        click.echo(f"registered already as {found['id']}, nothing was changed; --force writes it anew")


@command.command("list")
@admin_flags
def list_(admin_url: str, as_json: bool) -> None:
    """List the deployments, the oldest first."""
    admin = Admin(admin_url)
    listed: list[dict[str, Any]] = admin.get("/deployments")["deployments"]
    latest = {service["name"]: service["deployment_id"] for service in admin.get("/services")["services"]}
    in_flight: dict[str, int] = admin.get("/perdure/deployments/in-flight")["in_flight"]
    for deployment in listed:
        deployment["status"] = _status(deployment, latest, in_flight)
        deployment["in_flight"] = in_flight.get(deployment["id"], 0)
    if as_json:
        click.echo(json.dumps({"deployments": listed}))
    elif not listed:
        click.echo("no deployments: register one with `perdure deployments register URL`")
    else:
        rows = [_row(deployment) for deployment in listed]
        table(("id", "address", "services", "status", "in flight", "created"), rows, numbers=(4,))


@command.command()
@click.argument("deployment_id", metavar="ID")
@admin_flags
def describe(admin_url: str, as_json: bool, deployment_id: str) -> None:
    """Show one deployment with its services and handlers."""
    shown: dict[str, Any] = Admin(admin_url).get(f"/deployments/{quoted(deployment_id)}")
    if as_json:
        click.echo(json.dumps(shown))
        return
    click.echo(f"{shown['id']}  {shown['uri']}")
    facts = [
        ("created", _seconds(shown["created_at"])),
        ("speaks", f"{shown['http_version']}, {'streams' if shown['protocol_type'] == 'BidiStream' else 'one by one'}"),
        ("protocol", f"{shown['min_protocol_version']} to {shown['max_protocol_version']}"),
        ("sdk", shown.get("sdk_version", "-")),
        *((f"header {name}", value) for name, value in shown.get("additional_headers", {}).items()),
        *((f"metadata {name}", value) for name, value in shown.get("metadata", {}).items()),
    ]
    for name, value in facts:
        click.echo(f"  {name}: {value}")
    click.echo()
    _print_services(shown)


@command.command()
@click.argument("deployment_id", metavar="ID")
@click.option("--force", is_flag=True, help="Also when invocations are under way that are pinned to it.")
@YES
@admin_flags
def remove(admin_url: str, as_json: bool, deployment_id: str, force: bool, yes: bool) -> None:
    """Forget a deployment. Invocations that are pinned to it cannot go on until it is registered again."""
    admin = Admin(admin_url)
    shown: dict[str, Any] = admin.get(f"/deployments/{quoted(deployment_id)}")
    pinned: int = admin.get("/perdure/deployments/in-flight")["in_flight"].get(deployment_id, 0)
    if pinned and not force:
        raise click.ClickException(
            f"{pinned} invocations are pinned to {deployment_id}: wait for their end, or give --force and they fail until "
            "it is registered again"
        )
    if not yes:
        with contextlib.redirect_stdout(sys.stderr):  # the question is no part of the output
            _print_services(shown)
        click.confirm(f"Remove {deployment_id} ({shown['uri']})?", abort=True, err=True)
    admin.request("DELETE", f"/deployments/{quoted(deployment_id)}", {"force": "true"})
    click.echo(json.dumps({"removed": deployment_id}) if as_json else f"removed {deployment_id}")


# --- inside ---------------------------------------------------------------------------------------------------------------


def _post(admin: Admin, request: dict[str, object]) -> tuple[int, dict[str, Any]]:
    status, body = admin.request("POST", "/deployments", body=json.dumps(request).encode())
    found: dict[str, Any] = json.loads(body)
    return status, found


def _pairs(given: tuple[str, ...], flag: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", param_hint=flag)
        pairs[name] = value
    return pairs


def _print_services(found: dict[str, Any]) -> None:
    rows = [
        (
            service["name"],
            service["ty"],
            str(service["revision"]),
            ", ".join(each["name"] for each in service["handlers"]),
        )
        for service in sorted(found["services"], key=lambda each: str(each["name"]))
    ]
    table(("service", "type", "revision", "handlers"), rows, numbers=(2,))
    for note in found.get("info", ()):
        click.echo(f"note: {note['message']}")


def _status(deployment: dict[str, Any], latest: dict[str, str], in_flight: dict[str, int]) -> str:
    """`active`: it takes new invocations. `draining`: it only finishes those it has. `drained`: it has none."""
    if any(latest.get(service["name"]) == deployment["id"] for service in deployment["services"]):
        return "active"
    return "draining" if in_flight.get(deployment["id"]) else "drained"


def _row(deployment: dict[str, Any]) -> tuple[str, ...]:
    services = sorted(f"{each['name']} {each['revision']}" for each in deployment["services"])
    address = "this server's app" if deployment["uri"].startswith(LOCAL) else deployment["uri"]
    return (
        deployment["id"],
        address,
        ", ".join(services),
        deployment["status"],
        str(deployment["in_flight"]),
        _seconds(deployment["created_at"]),
    )


def _seconds(rfc3339: str) -> str:
    return rfc3339[:19].replace("T", " ") + " UTC"
