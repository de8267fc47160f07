"""`perdure endpoint`: serve the handlers of apps to a Restate server, as a deployment of it."""

from __future__ import annotations

import click


@click.command("endpoint")
@click.argument("apps", nargs=-1, required=True, metavar="MODULE:APP...")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", show_default=True, help="Where to listen.")
@click.option("--port", default=9080, type=click.IntRange(0, 65535), metavar="N", show_default=True, help="0: any.")
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True
)
@click.option("--log-format", default="text", type=click.Choice(["text", "json"]), show_default=True)
def command(apps: tuple[str, ...], host: str, port: int, log_level: str, log_format: str) -> None:
    """Serve the handlers of MODULE:APP to a Restate server.

    Register it there once: `restate deployments register http://HOST:PORT`. SIGTERM and Ctrl-C stop it in order.
    """
    from perdure.cli.loading import load_app
    from perdure.cli.logs import set_up
    from perdure.endpoint import deployment

    app = load_app(apps)
    assert app is not None
    served = deployment(app)

    # Here and not above: they need what `deployment` has checked for.
    from perdure.endpoint.serving import listen, run

    set_up(log_level, log_format)
    try:
        listening = listen(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"perdure endpoint: http://{shown}:{listening.getsockname()[1]}", err=True)
    run(served, listening)
