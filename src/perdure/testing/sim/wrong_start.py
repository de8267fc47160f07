"""A start that must be refused: with another number of partitions, on another format, while somebody else has the directory.

What must hold: it is refused by the code that says why, gives back what it has locked, and changes nothing: not a byte of the
log, nothing that the next start would see.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from perdure.log.format import SEGMENT_HEADER_BYTES
from perdure.model.errors import PerdureError
from perdure.testing.sim.engine import DATA, SimEngine
from perdure.testing.sim.process import Process
from perdure.testing.sim.scenario import Life
from perdure.testing.sim.virtual_time import SimLoop

if TYPE_CHECKING:
    from perdure.testing.sim.simulation import Simulation

IDENTITY = f"{DATA}/perdure.json"
_STORE = f"{DATA}/store"
_SEGMENTS = f"{DATA}/log/segment-"


class WrongStart(Process):
    """`settled`: nothing waits for a sync, so that files may be changed and put back."""

    def __init__(self, simulation: Simulation, number: int, random: Random, *, settled: bool) -> None:
        super().__init__(simulation, number, Life())
        self._disk = simulation.disk
        self._held = {name: bytes(inode.data) for name, inode in self._disk.names.items()}
        self._put_back: Callable[[], None] = lambda: None
        ways: list[Callable[[SimEngine], str]] = [self._more_partitions, self._locked]
        if settled:
            ways += [self._newer_directory, self._no_identity, self._newer_log, self._newer_store]
        self._way = random.choice(ways)
        self._code = ""

    @property
    def possible(self) -> bool:
        """There is a data directory to be refused."""
        return all(any(name.startswith(path) for name in self._held) for path in (IDENTITY, _STORE, _SEGMENTS))

    async def _main(self, engine: SimEngine, loop: SimLoop) -> None:
        self._code = self._way(engine)
        changed = {name: bytes(inode.data) for name, inode in self._disk.names.items()}
        locks = set(self._disk.locks)
        broken, note = self._simulation.world.broken, self._simulation.trace.note
        try:
            await engine.start()
        except (PerdureError, OSError) as error:
            code = error.code if isinstance(error, PerdureError) else type(error).__name__
            note(f"wrong start refused: {code}")
            if code != self._code:
                broken("start", f"{self._code} should refuse it, and it was told {error}")
        else:
            broken("start", f"{self._code} should refuse it, and it starts")
            await engine.stop()
        if self._disk.locks != locks:
            broken("start", f"it was refused by {self._code}, and keeps locked {sorted(self._disk.locks - locks)}")
        now = {name: bytes(inode.data) for name, inode in self._disk.names.items()}
        if _of_log(now) != _of_log(changed):
            broken("start", f"it was refused by {self._code}, and changed the log")
        self._put_back()

    # --- why ----------------------------------------------------------------------------------------------------------------

    def _more_partitions(self, engine: SimEngine) -> str:
        engine.settings.partitions = self._simulation.scenario.partitions + 1
        return "PD0212"

    def _locked(self, engine: SimEngine) -> str:
        path = f"{DATA}/lock"
        self._disk.locks.add(path)
        self._put_back = lambda: self._disk.locks.discard(path)
        return "PD0211"

    def _newer_directory(self, engine: SimEngine) -> str:
        identity = json.loads(self._held[IDENTITY])
        return self._replace(IDENTITY, json.dumps(identity | {"format": identity["format"] + 1}).encode(), "PD0210")

    def _no_identity(self, engine: SimEngine) -> str:
        return self._replace(IDENTITY, None, "PD0210")

    def _newer_log(self, engine: SimEngine) -> str:
        """A segment of the next format, intact as far as this one can tell."""
        path = max(name for name in self._held if name.startswith(_SEGMENTS))
        header = bytearray(self._held[path][:SEGMENT_HEADER_BYTES])
        header[8:10] = struct.pack("<H", 2)
        header[-4:] = struct.pack("<I", zlib.crc32(header[:-4]))
        return self._replace(path, bytes(header) + self._held[path][SEGMENT_HEADER_BYTES:], "PD0102")

    def _newer_store(self, engine: SimEngine) -> str:
        held = {name: self._disk.names[name].copy() for name in self._disk.names_in(_STORE)}
        with self._simulation.connected() as connection:
            version = connection.pragma("user_version")
            assert isinstance(version, int)
            connection.pragma("user_version", version + 1)
        self._disk.wait = lambda _: None

        def put_back() -> None:
            for name in sorted({*held, *self._disk.names_in(_STORE)}):
                self._disk.replace(name, held.get(name))

        self._put_back = put_back
        return "PD0203"

    def _replace(self, path: str, data: bytes | None, code: str) -> str:
        inode = self._disk.names[path]
        self._disk.replace(path, data)
        self._put_back = lambda: self._disk.replace(path, inode)
        return code


def _of_log(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name == IDENTITY or name.startswith(f"{DATA}/log/")}
