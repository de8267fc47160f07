"""`perdure state`: read and change the state of the objects and workflows of a running server.

A change replaces the state as a whole, in its turn behind the handlers of the key, and only if the state is still the one
that was read for it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import click

from perdure.cli.admin import Admin, admin_flags, quoted
from perdure.cli.tables import table
from perdure.model.state_version import state_version

SERVICE = click.argument("service")
KEY = click.argument("key")


@click.group("state")
def command() -> None:
    """Read and change the state of objects and workflows of a running server."""


@command.command()
@SERVICE
@KEY
@click.argument("name", required=False)
@admin_flags
def get(admin_url: str, as_json: bool, service: str, key: str, name: str | None) -> None:
    """Print the state of a key, or one value of it."""
    shown = _read(Admin(admin_url), service, key)
    state: dict[str, Any] = shown["state"]
    if name is not None:
        if name not in state:
            raise click.ClickException(f"{service}/{key} has no '{name}'; it has: {', '.join(state) or 'nothing'}")
        click.echo(json.dumps(state[name]) if as_json else _text(state[name]))
    elif as_json:
        click.echo(json.dumps(shown))
    elif not state:
        click.echo(f"{service}/{key} has no state")
    else:
        table(("name", "value"), [(each, _text(value)) for each, value in state.items()])


@command.command("set")
@SERVICE
@KEY
@click.argument("name")
@click.argument("value")
@click.option("--raw", is_flag=True, help="Store VALUE as it is, though it is no JSON.")
@admin_flags
def set_(admin_url: str, as_json: bool, service: str, key: str, name: str, value: str, raw: bool) -> None:
    """Set one value of a key. VALUE is JSON, as handlers read it unless they have another serde."""
    if not raw:
        try:
            json.loads(value)
        except ValueError:
            why = f"the value {value!r} is no JSON; quote a text, as in '\"{value}\"', or give --raw"
            raise click.UsageError(why) from None
    admin = Admin(admin_url)
    shown = _read(admin, service, key)
    _write(admin, shown, {**_bytes(shown["state"]), name: value.encode()}, as_json=as_json)


@command.command()
@SERVICE
@KEY
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before everything is cleared.")
@admin_flags
def clear(admin_url: str, as_json: bool, service: str, key: str, names: tuple[str, ...], yes: bool) -> None:
    """Clear the values named, or all of them."""
    admin = Admin(admin_url)
    shown = _read(admin, service, key)
    state = _bytes(shown["state"])
    if missing := [name for name in names if name not in state]:
        raise click.ClickException(f"{service}/{key} has no '{missing[0]}'; it has: {', '.join(state) or 'nothing'}")
    if not names and state and not yes:
        click.confirm(f"Clear all {len(state)} values of {service}/{key}?", abort=True, err=True)
    left = {name: value for name, value in state.items() if names and name not in names}
    _write(admin, shown, left, as_json=as_json)


def _read(admin: Admin, service: str, key: str) -> dict[str, Any]:
    shown: dict[str, Any] = admin.get(f"/perdure/state/{quoted(service)}/{quoted(key)}")
    return shown


def _write(admin: Admin, before: dict[str, Any], state: Mapping[str, bytes], *, as_json: bool) -> None:
    body = {
        "object_key": before["key"],
        "new_state": {name: list(value) for name, value in state.items()},
        "version": before["version"],
    }
    admin.request("POST", f"/services/{quoted(before['service'])}/state", body=json.dumps(body).encode())
    after = _read(admin, before["service"], before["key"])
    done = after["version"] == state_version(state)
    if as_json:
        click.echo(json.dumps({"done": done, **after}))
    elif done:
        click.echo("done")
    else:
        holder = after["held_by"] or "another invocation"
        click.echo(f"accepted; it takes its turn after {holder}, if the state is then still as it is now")


def _bytes(state: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        name: value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
        for name, value in state.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"base64:{value['base64']}"
