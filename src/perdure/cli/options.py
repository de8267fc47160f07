"""The flags that `serve`, `dev` and `config` share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import click

from perdure.cli.settings import FILE, Settings, load
from perdure.cli.values import Raw

Flag: TypeAlias = str | tuple[str, ...] | None
"""What was given for a flag: None or nothing if it was not."""
F = TypeVar("F", bound=Callable[..., object])

_FLAGS = (
    click.option("--data", metavar="DIR", help="Data directory [perdure-data]."),
    click.option("--ingress", metavar="HOST:PORT", help="Where calls are taken [127.0.0.1:8080]."),
    click.option("--ingress-url", metavar="URL", help="Where the outside reaches it [the address it listens on]."),
    click.option("--admin", metavar="HOST:PORT", help="Where the admin API is served [127.0.0.1:9070]."),
    click.option("--pg", metavar="HOST:PORT", help="Where SQL is served to clients of PostgreSQL [nowhere]."),
    click.option(
        "--register", metavar="URL", multiple=True, help="Register this deployment once it answers; may be repeated."
    ),
    click.option("--partitions", metavar="N", help="Number of partitions, fixed when the data directory is made."),
    click.option("--durability", metavar="fsync|os", help="What an acknowledged call survives [fsync: the machine]."),
    click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error [info]."),
    click.option("--log-format", metavar="text|json", help="Lines for people, or JSON [text]."),
    click.option(
        "--set", "others", metavar="NAME=VALUE", multiple=True, help="Any other setting; see docs/settings.md."
    ),
    click.option(
        "--config", "file", metavar="FILE", type=click.Path(path_type=Path), help=f"Settings file [{FILE}, if there]."
    ),
)


def settings_flags(command: F) -> F:
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def settings_from(apps: tuple[str, ...], others: tuple[str, ...], file: Path | None, **named: Flag) -> Settings:
    """The merged settings. Errors: those of `settings.load`; click.BadParameter for a `--set` without `=`."""
    flags: dict[str, Raw] = {}
    for other in others:
        name, equals, value = other.partition("=")
        if not equals:
            raise click.BadParameter(f"{other!r} is not NAME=VALUE", param_hint="--set")
        flags[name.strip().replace("-", "_")] = value.strip()
    flags |= {name: value for name, value in named.items() if value is not None and value != ()}
    if apps:
        flags["apps"] = apps
    settings = load(flags, os.environ, file)
    for warning in settings.warnings:
        click.echo(f"perdure: {warning}", err=True)
    return settings
