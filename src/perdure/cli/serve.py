"""`perdure serve`: run a server until it is asked to stop."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli.options import Flag, settings_flags, settings_from


@click.command("serve")
@click.argument("apps", nargs=-1, metavar="[MODULE:APP]...")
@settings_flags
def command(apps: tuple[str, ...], others: tuple[str, ...], file: Path | None, **named: Flag) -> None:
    """Run a server with the handlers of the apps named.

    SIGTERM and Ctrl-C stop it in order: no new work, running steps get a grace period, exit code 0. A second one ends it
    at once, which loses nothing that was acknowledged.
    """
    settings = settings_from(apps, others, file, **named)

    # Here and not above: a wrong flag is refused before half a second of imports.
    from perdure.cli.logs import set_up
    from perdure.cli.server import run

    set_up(str(settings["log_level"]), str(settings["log_format"]))
    run(settings)
