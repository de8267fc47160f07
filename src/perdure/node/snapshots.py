"""`Snapshots`: everything an engine knows, as of one LSN, for those who read much of it: SQL.

The tables come as a snapshot of the store, read off the loop; what only memory knows is copied at the very LSN for which the
snapshot stands. Changes nothing but that it may bring the next checkpoint forward.
"""

from __future__ import annotations

from dataclasses import dataclass

from perdure.model.deployment import Deployment
from perdure.model.service import ServiceSpec
from perdure.node.core import Core
from perdure.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Memory:
    """What no table holds. Shapes: `attempts` are (partition, seq) of the invocations with an attempt under way."""

    now_ms: int
    attempts: list[tuple[int, int]]
    identity: str | None
    """Of the code in this process; None: it has no handlers."""
    services: list[ServiceSpec]
    local: frozenset[str]
    """Those that this process serves."""
    deployments: list[Deployment]


class Snapshots(Core):
    """An engine of which snapshots can be taken."""

    async def snapshot(self) -> tuple[Snapshot, Memory]:
        """The caller closes the snapshot. Errors: NodeStopped; StoreUnreadable."""
        await self.ready()
        snapshot, memory = await self._checkpoints.snapshot(self._memory)
        assert isinstance(memory, Memory)
        return snapshot, memory

    def _memory(self) -> Memory:
        services = self.registry.services()
        return Memory(
            now_ms=self.now_ms(),
            attempts=self.pool.running(),
            identity=None if self.app is None else self.app.identity,
            services=services,
            local=frozenset(spec.name for spec in services if self.registry.is_local(spec.name)),
            deployments=self.registry.deployments(),
        )
