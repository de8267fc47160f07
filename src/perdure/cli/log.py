"""`perdure log verify` and `perdure log dump`: look into a log without opening it for writing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from perdure.cli.settings import load

DIRECTORY = click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")


@click.group("log")
def command() -> None:
    """Look into the log of a data directory, DIR or the one that the settings name. Changes nothing."""


@command.command()
@DIRECTORY
def verify(directory: Path | None) -> None:
    """Check every byte that counts. Exit code 1 when a node would refuse this log."""
    from perdure.env.files import SystemFiles
    from perdure.log.verify import verify as verify_log

    report = verify_log(SystemFiles(), _log_of(directory))
    for line in report.lines():
        click.echo(line)
    sys.exit(1 if report.problem is not None else 0)


@command.command()
@DIRECTORY
@click.option("--from", "from_lsn", type=click.IntRange(min=1), default=1, metavar="LSN", help="Where to begin [1].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def dump(directory: Path | None, from_lsn: int, as_json: bool) -> None:
    """Print the records, one a line."""
    from perdure.env.files import SystemFiles
    from perdure.log.dump import dump as dump_log

    try:
        for line in dump_log(SystemFiles(), _log_of(directory), from_lsn=from_lsn, as_json=as_json):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # `perdure log dump | head`
        sys.stderr.close()
        sys.exit(0)


def _log_of(directory: Path | None) -> Path:
    """The directory with the segments: `DIR/log` of a data directory, or DIR itself."""
    if directory is None:
        directory = load({}, os.environ).data
    log = directory / "log"
    found = log if log.is_dir() else directory
    if not found.is_dir():
        raise click.UsageError(f"there is no directory {directory}")
    return found
