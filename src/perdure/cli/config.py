"""`perdure config`: every setting, its value, and where it came from. Starts nothing."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli.known_settings import SETTINGS
from perdure.cli.options import Flag, settings_flags, settings_from


@click.command("config")
@click.argument("apps", nargs=-1, metavar="[MODULE:APP]...")
@settings_flags
def command(apps: tuple[str, ...], others: tuple[str, ...], file: Path | None, **named: Flag) -> None:
    """Print every setting, its value, and where it came from.

    Takes the same flags as `perdure serve`, so that what a command line means can be seen before it is run.
    """
    settings = settings_from(apps, others, file, **named)
    rows = [
        (setting.name, setting.show(settings[setting.name]), settings.values[setting.name].source)
        for setting in SETTINGS
    ]
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for name, value, source in rows:
        click.echo(f"{name:{name_width}}  {value:{value_width}}  {source}")
