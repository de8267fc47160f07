"""What a seed is about: the settings of the engine, who calls, how each process ends, what the disk does meanwhile."""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

from perdure.testing.sim.disk import NO_FAULTS, Faults

Ending = Literal["operations", "time", "stop", "none"]


class Life(NamedTuple):
    """One process. `power`: its end takes unsynced writes along. Units: seconds of virtual time."""

    version: int = 1
    ending: Ending = "none"
    after: float = 0.0
    """Operations on the disk, or seconds, after which the end comes."""
    power: bool = False
    faults: Faults = NO_FAULTS
    faults_from_s: float = 0.0
    faults_for_s: float = 0.0
    clock_ms: int = 0
    """What somebody did to the wall clock before."""
    flips: int = 0
    """Bits of the disk that flip before it starts."""
    final: bool = False
    """Without faults, to the end of everything."""


class Scenario(NamedTuple):
    partitions: int
    clients: int
    lives: list[Life]
    settings: dict[str, Any]
    sync_s: float
    wal_pages: int
    gentle: bool
    operated: bool
    forgets: bool
    incompatible_upgrade: bool

    @property
    def final_versions(self) -> tuple[int, ...]:
        return (2, 3) if self.incompatible_upgrade else (2,)

    @classmethod
    def draw(cls, random: Random) -> Scenario:
        incompatible = random.random() < 0.15
        forgets = random.random() < 0.2
        choice = random.choice
        retention_ms = choice((500, 3_000)) if forgets else 86_400_000
        settings = {
            "durability": "fsync",
            "segment_bytes": choice((4_096, 8_192, 32_768)),
            "checkpoint_interval_ms": choice((20, 200, 1_000, 10_000)),
            "cleanup_interval_ms": choice((300, 5_000)),
            "inactivity_timeout_ms": choice((0, 200, 2_000, 60_000)),
            "journal_retention_ms": retention_ms,
            "idempotency_retention_ms": max(retention_ms, 86_400_000),
            "layer_bytes_max": choice((20_000, 200_000, 1 << 26)),
            "concurrent_attempts_max": choice((2, 5, 10_000)),
            "idle_attempts_bytes_max": choice((0, 50_000, 1 << 29)),
            "always_replay": random.random() < 0.1,
        }
        return cls(
            partitions=choice((1, 1, 2, 3)),
            clients=random.randint(1, 4),
            lives=[_life(random, incompatible) for _ in range(random.randint(1, 6))],
            settings=settings,
            sync_s=choice((0.0, 0.0001, 0.002, 0.02)),
            wal_pages=choice((1, 20, 4_000)),
            gentle=random.random() < 0.7,
            operated=random.random() < 0.5,
            forgets=forgets,
            incompatible_upgrade=incompatible,
        )


def _life(random: Random, incompatible: bool) -> Life:
    versions = (1, 2, 3) if incompatible else (1, 2)
    ending: Ending = random.choice(("operations", "operations", "time", "time", "stop"))
    if ending == "operations":
        after = float(random.choice((random.randint(1, 60), random.randint(1, 400), random.randint(1, 1_500))))
    else:
        after = random.choice((0.05, 1.0, 10.0, 30.0)) * random.random()
    return Life(
        version=random.choice(versions),
        ending=ending,
        after=after,
        power=random.random() < 0.6,
        clock_ms=random.choice((0, 0, 0, 5_000, -5_000)),
    )
