"""`perdure services`: what a running server offers."""

from __future__ import annotations

import json
from typing import Any

import click

from perdure.cli.admin import Admin, admin_flags, quoted
from perdure.cli.tables import table


@click.command("services")
@click.argument("name", required=False)
@admin_flags
def command(admin_url: str, as_json: bool, name: str | None) -> None:
    """List the services of a running server, or the handlers of the one named."""
    admin = Admin(admin_url)
    if name is not None:
        service: dict[str, Any] = admin.get(f"/services/{quoted(name)}")
        if as_json:
            click.echo(json.dumps(service))
        else:
            _print_service(service)
        return
    answer: dict[str, Any] = admin.get("/services")
    if as_json:
        click.echo(json.dumps(answer))
    elif not answer["services"]:
        click.echo("no services: name an app at `perdure serve`, or register a deployment")
    else:
        rows = [_row(service) for service in answer["services"]]
        table(("service", "type", "reached", "handlers"), rows)


def _row(service: dict[str, Any]) -> tuple[str, ...]:
    handlers = ", ".join(handler["name"] for handler in service["handlers"])
    return (service["name"], service["ty"], _reached(service), handlers)


def _reached(of: dict[str, Any]) -> str:
    return "from outside" if of["public"] else "from handlers only"


def _print_service(service: dict[str, Any]) -> None:
    click.echo(f"{service['name']}  {service['ty']}, {_reached(service)}")
    if text := service.get("documentation"):
        click.echo(f"  {text}")
    click.echo()
    rows = [
        (
            handler["name"],
            handler.get("ty", "").lower() or "plain",
            _reached(handler),
            handler["input_description"],
            handler["output_description"],
        )
        for handler in service["handlers"]
    ]
    table(("handler", "kind", "reached", "input", "output"), rows)
