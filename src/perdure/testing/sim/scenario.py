"""What a seed is about: the settings of the engine, who calls, how each process ends, what the disk does meanwhile."""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

from perdure.testing.sim.disk import NO_FAULTS, Faults
from perdure.testing.sim.errands import ERRANDS

Ending = Literal["operations", "time", "stop", "none"]


class Life(NamedTuple):
    """One process. `power`: its end takes unsynced writes along. Units: seconds of virtual time."""

    version: int = 1
    ending: Ending = "none"
    after: float = 0.0
    """Operations on the disk, or seconds, after which the end comes."""
    kind: str = ""
    """Which operations count; empty: all."""
    then: int = 0
    """Operations of any kind that still follow."""
    segments: int = 1
    """Times the size that the scenario gives them."""
    synced: bool = False
    """Durability is `fsync`, whatever it is in other processes."""
    power: bool = False
    faults: Faults = NO_FAULTS
    faults_from_s: float = 0.0
    """0: from the start on."""
    faults_for_s: float = 0.0
    clock_ms: int = 0
    """What somebody did to the wall clock before."""
    flips: bool = False
    """A bit of the disk flips before it starts."""
    final: bool = False
    """Without faults, to the end of everything."""


class Theme(NamedTuple):
    """What a seed is mostly about: chances for each of its lives, and which kinds of scenario it chooses from.

    A mix of everything would have a little of each danger in every seed, and rarely two of the same.
    """

    faults: float = 0.03
    sync_errors: float = 0.3
    """Of those with faults: a sync that fails now and then, from the start to the end."""
    full: float = 0.0
    """A disk that is full for a while."""
    flips: float = 0.02
    flips_store: float = 0.0
    """Chance of the seed that flips come to SQLite's files, and to no others."""
    power: float = 0.6
    aimed: float = 0.5
    """Of those killed at an operation: at one of the places where it matters most."""
    stop: float = 0.2
    operated: tuple[float, ...] = (0.0, 0.0, 0.0, 3.0)
    incompatible: float = 0.05
    os: float = 0.03
    forgets: float = 0.15
    partitions: tuple[int, ...] = (1, 1, 2, 3)
    errands: tuple[int, ...] = (0, 0, 1)
    """How many there are at once."""
    clients: int = 3
    """At most."""
    checkpoints_ms: tuple[int, ...] = (50, 500, 2_000, 10_000, 10_000)
    """Between two: with few of them the log grows long."""
    remote: bool = False
    """Handlers run in workers, over a network."""


THEMES = {
    "mixed": Theme(),
    "power": Theme(power=1.0, aimed=0.9, stop=0.0),
    "partitions": Theme(partitions=(2, 3, 5)),
    "errors": Theme(faults=0.7, sync_errors=0.7, power=0.8),
    "damage": Theme(flips=0.8, flips_store=0.5, stop=0.5, forgets=0.0, checkpoints_ms=(500, 60_000, 60_000)),
    "operator": Theme(operated=(0.05, 0.3), stop=0.1),
    "upgrade": Theme(incompatible=1.0, stop=0.4),
    "os": Theme(os=1.0, power=0.7),
    "full": Theme(full=0.8, stop=0.4),
    "retention": Theme(forgets=1.0, stop=0.4),
    "errands": Theme(errands=(3, 4), clients=1, operated=(0.0, 0.0, 0.3), partitions=(1, 2, 3)),
}
"""What a seed draws from."""
ASKED_FOR = {
    "store-damage": Theme(flips=1.0, flips_store=1.0, stop=0.8),
    "remote": Theme(remote=True, errands=(0,), flips=0.0, incompatible=0.0, forgets=0.0, operated=(0.0, 0.0, 0.3)),
}
"""Only for those who ask: the half of `damage` that comes to the store; and what needs the extra `restate`."""


class Scenario(NamedTuple):
    theme: str
    partitions: int
    clients: int
    lives: list[Life]
    settings: dict[str, Any]
    sync_s: float
    wal_pages: int
    flips_store: bool
    gentle: bool
    operator_s: float
    """How long an operator waits between two things he does; 0: there is none."""
    forgets: bool
    incompatible_upgrade: bool
    errands: list[str]
    remote: bool
    watched: bool
    """Somebody reads the tables all the time."""

    @property
    def final_versions(self) -> tuple[int, ...]:
        return (2, 3) if self.incompatible_upgrade else (2,)

    @classmethod
    def draw(cls, random: Random, wanted: str | None = None) -> Scenario:
        name = random.choice(list(THEMES))
        name = wanted or name
        theme = (THEMES | ASKED_FOR)[name]
        incompatible = random.random() < theme.incompatible
        forgets = random.random() < theme.forgets
        choice = random.choice
        retention_ms = choice((500, 3_000)) if forgets else 86_400_000
        settings = {
            "durability": "os" if random.random() < theme.os else "fsync",
            "segment_bytes": choice((8_192, 8_192, 32_768)),
            "checkpoint_interval_ms": choice(theme.checkpoints_ms),
            "cleanup_interval_ms": choice((700, 5_000)),
            "inactivity_timeout_ms": choice((0, 200, 2_000, 60_000)),
            "journal_retention_ms": retention_ms,
            "idempotency_retention_ms": max(retention_ms, 86_400_000),
            "layer_bytes_max": choice((5_000, 20_000, 200_000, 1 << 26)),
            "concurrent_attempts_max": choice((2, 5, 10_000)),
            "idle_attempts_bytes_max": choice((0, 50_000, 1 << 29)),
            "always_replay": random.random() < 0.1,
            "interruptions_max": 3,
            "inbox_length_max": 12,
            "body_bytes_max": 6_000,
        }
        if theme.remote:
            settings |= {
                "segment_bytes": 32_768,  # what a deployment serves is one record
                "service_protocol_v7": random.random() < 0.6,
                "abort_timeout_ms": choice((1_000, 10_000)),
                "deployment_ping_interval_ms": choice((2_000, 40_000)),
                "deployment_ping_timeout_ms": choice((1_000, 20_000)),
            }
        return cls(
            theme=name,
            partitions=choice(theme.partitions),
            clients=random.randint(1, theme.clients),
            lives=[_life(random, theme, incompatible) for _ in range(random.randint(2, 6))],
            settings=settings,
            sync_s=choice((0.0, 0.0001, 0.002, 0.02)),
            wal_pages=choice((1, 20, 4_000)),
            flips_store=theme.flips_store > 0 and random.random() < theme.flips_store,
            gentle=random.random() < 0.7,
            operator_s=choice(theme.operated),
            forgets=forgets,
            incompatible_upgrade=incompatible,
            errands=_errands(random, theme) if settings["durability"] == "fsync" else [],
            remote=theme.remote,
            watched=random.random() < 0.5,
        )


def _errands(random: Random, theme: Theme) -> list[str]:
    """Nobody who was told something may be wrong: where a power cut may take it back, with `os`, there are none."""
    return random.sample(tuple(ERRANDS), random.choice(theme.errands))


def _life(random: Random, theme: Theme, incompatible: bool) -> Life:
    versions = (1, 2, 3) if incompatible else (1, 2)
    stops = random.random() < theme.stop
    ending: Ending = "stop" if stops else random.choice(("operations", "operations", "time"))
    kind = ""
    if ending == "operations":
        kind = random.choice(_KINDS) if random.random() < theme.aimed else ""
        most = random.choice((3, 10, 60)) if kind else random.choice((30, 300, 1_500))
        after = float(random.randint(1, most))
    else:
        after = random.choice((0.05, 1.0, 10.0, 30.0)) * random.random()
    faults, faults_from_s = NO_FAULTS, random.choice((0.0, 5.0 * random.random()))
    faults_for_s = random.choice((0.1, 3.0))
    if random.random() < theme.faults:
        faults = random.choice(_FAULTS)
        if random.random() < theme.sync_errors:
            faults, faults_from_s, faults_for_s = Faults(sync_error=random.choice((0.02, 0.1))), 0.01, 1_000.0
    if theme.full and random.random() < theme.full:
        faults, faults_from_s, faults_for_s = Faults(full=True), 0.01 + random.random(), random.choice((0.5, 5.0, 30.0))
    return Life(
        version=random.choice(versions),
        ending=ending,
        after=after,
        kind=kind,
        then=random.choice((0, 0, 1, 2, 4)) if kind else 0,
        segments=random.choice((1, 1, 1, 2)),
        synced=random.random() < 0.3,
        power=random.random() < theme.power,
        faults=faults,
        faults_from_s=faults_from_s,
        faults_for_s=faults_for_s,
        clock_ms=random.choice((0, 0, 0, 5_000, -5_000)),
        flips=random.random() < theme.flips,
    )


_KINDS = (
    "sync /data/log/s",
    "sync /data/log/s",
    "sync /data/log/s",
    "write /data/log/s",
    "syncdir /data/log",
    "rename /data/log",
    "rename /data/log/seg",
    "unlink /data/log",
    "sync /data/store",
    "write /data/store",
    "read /data",
)
"""Places where it matters more than elsewhere to be killed."""
_FAULTS = (
    Faults(sync_error=0.3),
    Faults(sync_error=0.05),
    Faults(sync_error=0.05),
    Faults(write_error=0.05),
    Faults(read_error=0.02),
    Faults(full=True),
    Faults(full=True),
)
