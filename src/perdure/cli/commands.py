"""The commands of `perdure`: one file each, loaded when it is the one that was asked for."""

from __future__ import annotations

import importlib

import click

from perdure.model.version import VERSION

COMMANDS = {
    "serve": "Run a server, with the handlers of the apps named.",
    "dev": "Serve one app while it is being written: reload on change, readable logs.",
    "endpoint": "Serve the handlers of apps to a Restate server, as a deployment of it.",
    "deployments": "Register, list, describe and remove the places where services run.",
    "services": "List the services of a running server, and their handlers.",
    "invocations": "List, describe and control the invocations of a running server.",
    "sql": "Ask SQL of the invocations, journals and state of a running server.",
    "state": "Read and change the state of objects and workflows of a running server.",
    "replay": "Would this code resume the open invocations of a data directory? Changes nothing.",
    "log": "Look into the log of a data directory.",
    "config": "Print every setting, its value, and where it came from.",
}


class Commands(click.Group):
    """The commands by name; each is the object `command` of `perdure.cli.<name>`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"perdure.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(prog)s %(version)s")
def perdure() -> None:
    """Durable async/await for Python."""
