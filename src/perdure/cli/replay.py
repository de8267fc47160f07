"""`perdure replay`: would new code resume what is under way? A gate for CI and deploys; it changes nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli.settings import load

if TYPE_CHECKING:
    from perdure.model.driver import App
    from perdure.node.replay_gate import Verdict


@click.command("replay")
@click.argument("apps", nargs=-1, required=True, metavar="MODULE:APP …")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a stopped server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(apps: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Replay every open invocation against the code of MODULE:APP, without starting steps or changing anything.

    Works on a copy of the data directory, made in the system's directory for temporary files, while its lock is held.
    Exit code 1 when an invocation would break, 0 when all would be resumed.
    """
    from perdure.cli.loading import load_app

    app = load_app(apps)
    assert app is not None
    logging.disable()  # handlers and their failures speak in the report, also where the app has set up logging
    with copied(data or load({}, os.environ).data) as copy:
        verdicts = asyncio.run(_verdicts(copy, app))
    broken = [verdict for verdict in verdicts if verdict.breaks]
    if as_json:
        fields = {"open": len(verdicts), "breaking": len(broken), "invocations": [asdict(each) for each in verdicts]}
        click.echo(json.dumps(fields, ensure_ascii=False))
    else:
        for line in report(verdicts):
            click.echo(line)
    sys.exit(1 if broken else 0)


async def _verdicts(directory: Path, app: App) -> list[Verdict]:
    from perdure.node.replay_gate import ReplayGate
    from perdure.node.settings import EngineSettings

    gate = ReplayGate(EngineSettings(data=directory), app)
    await gate.open()
    try:
        return await gate.verdicts()
    finally:
        await gate.close()


def report(verdicts: list[Verdict]) -> Iterator[str]:
    """For people: what breaks, one by one; then every handler in a line."""
    for verdict in verdicts:
        if verdict.breaks:
            yield f"BREAKS  {verdict.target}  {verdict.invocation_id}  ({verdict.status}, {verdict.entries} entries)"
            yield f"        {verdict.cause}: {verdict.message}"
    counts = Counter(verdict.handler for verdict in verdicts)
    broken = Counter(verdict.handler for verdict in verdicts if verdict.breaks)
    for handler in sorted(counts):
        yield f"{handler}: {counts[handler]} open, {broken[handler]} would break"
    yield f"{len(verdicts)} open invocations, {broken.total()} would break"


@contextmanager
def copied(data: Path) -> Iterator[Path]:
    """A copy of a data directory, taken under its lock, which is held without writing into it; removed at the end.

    Errors: click.UsageError when there is no such directory or a process uses it.
    """
    if not (data / "perdure.json").is_file():
        raise click.UsageError(f"{data} is no data directory")
    with (data / "lock").open("rb") as lock, tempfile.TemporaryDirectory(prefix="perdure-replay-") as temporary:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = lock.read(200).decode("utf-8", "replace").strip() or "another process"
            raise click.UsageError(f"{data} is in use by {owner}; stop it first, or take a copy") from None
        copy = Path(temporary) / "data"
        shutil.copytree(data, copy)
        yield copy
