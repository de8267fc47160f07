"""Short names for invocations: scripts say `a`, the tables say 24 bytes and a sequence number."""

from __future__ import annotations

from perdure.model.ids import (
    hash_key,
    keyed_invocation_id,
    make_invocation_id,
    partition_key,
    partition_of,
)
from perdure.model.target import HandlerKind, Target


class Names:
    """Both directions, for every invocation that a script has named. A name stays after its invocation is forgotten."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._ids: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        self._seqs: dict[str, tuple[int, int]] = {}
        self._by_seq: dict[tuple[int, int], str] = {}

    def new(self, name: str, target: Target, kind: HandlerKind, idempotency_key: str | None, home: int) -> bytes:
        """The id of a request under this name: derived as in production, or fresh (the name is its unique part)."""
        if name in self._ids:
            return self._ids[name]
        if kind is HandlerKind.RUN or idempotency_key is not None:
            found: bytes = keyed_invocation_id(
                target.service,
                target.key,
                target.handler,
                workflow_run=kind is HandlerKind.RUN,
                idempotency_key=idempotency_key,
                at_ms=0,
                random=bytes(18),
            )
        else:
            shard = hash_key(target.key) if target.key is not None else (home << 64) // self.partitions + 1
            found = make_invocation_id(shard, name.encode().ljust(16, b"."))
        self._ids[name] = found
        self._names.setdefault(found, name)
        return found

    def new_in(self, name: str, shard: int) -> bytes:
        """A fresh id with this partition key."""
        found: bytes = make_invocation_id(shard, name.encode().ljust(16, b"."))
        self._ids[name] = found
        self._names.setdefault(found, name)
        return found

    def id_of(self, name: str) -> bytes:
        """The id of an invocation named before, or of one that nobody made."""
        return (
            self._ids[name]
            if name in self._ids
            else self.new(name, Target("None", None, ""), HandlerKind.PLAIN, None, 0)
        )

    def name_of(self, invocation_id: bytes) -> str:
        return self._names[invocation_id]

    def home_of(self, name: str) -> int:
        return partition_of(partition_key(self.id_of(name)), self.partitions)

    def place(self, partition: int, seq: int, invocation_id: bytes) -> None:
        name = self._names[invocation_id]
        self._seqs[name] = (partition, seq)
        self._by_seq[partition, seq] = name

    def seq_of(self, name: str) -> int:
        """The sequence number it has or had; one that nobody has when it was never made."""
        return self._seqs.get(name, (0, 999))[1]

    def at(self, partition: int, seq: int) -> str:
        return self._by_seq.get((partition, seq), f"#{seq}")
