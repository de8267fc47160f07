"""Deployments that a server is told to register when it starts (`--register URL`): each is tried until it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from perdure.model.errors import PerdureError
from perdure.node.engine import Engine
from perdure.node.errors import NodeStopped

_logger = logging.getLogger("perdure.deployments")
PAUSE_FIRST_S = 1.0
PAUSE_MAX_S = 30.0


async def register_all(engine: Engine, uris: Iterable[str]) -> None:
    """Returns when all are registered. One that is known already stays as it is."""
    await asyncio.gather(*(_register(engine, uri if "://" in uri else f"http://{uri}") for uri in uris))


async def _register(engine: Engine, uri: str) -> None:
    pause_s = PAUSE_FIRST_S
    while True:
        try:
            registered = await engine.deployments.register(uri)
        except NodeStopped:
            return
        except PerdureError as error:
            _logger.warning("%s cannot be registered yet and is tried again in %.0f s: %s", uri, pause_s, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        else:
            row = registered.deployment
            _logger.info("%s is deployment %s (%s)", uri, row.id, ", ".join(sorted(row.revisions)))
            return
