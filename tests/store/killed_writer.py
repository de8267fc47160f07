"""A process that checkpoints without end, to be killed: `python killed_writer.py PATH`.

What it writes at LSN n is known to everyone: `content(n)`. It prints each LSN once its checkpoint has been committed.
"""

from __future__ import annotations

import sys

from perdure.env.executor import ThreadExecutor
from perdure.model.journal import Completion
from perdure.model.target import HandlerKind, Target
from perdure.store.rows import Invocation, Status
from perdure.store.store import Store
from perdure.store.tables import Tables

PER_LSN = 40
KEPT = 3
TARGET = Target("Cart", None, "checkout")


def step(tables: Tables, lsn: int) -> None:
    """The change of one LSN: new invocations, entries for the last ones, old ones forgotten, one counter."""
    for seq in seqs(lsn):
        row = Invocation(seq, seq.to_bytes(24, "little"), TARGET, HandlerKind.PLAIN, Status.INVOKED, 0, lsn, 1, 1)
        tables.add(row)
        tables.append_entry(seq, 0, lsn, Completion(lsn, 1, b"x" * 200))
    for seq in seqs(lsn - 1):
        tables.append_entry(seq, 1, lsn, Completion(lsn, 1, b"y" * 200))
    for seq in seqs(lsn - KEPT):
        tables.forget(seq)
    tables.set_state("Cart", "k", "lsn", str(lsn).encode())
    tables.edit_meta().now_ms = lsn


def seqs(lsn: int) -> range:
    return range((lsn - 1) * PER_LSN + 1, lsn * PER_LSN + 1) if lsn > 0 else range(0)


def main() -> None:
    executor = ThreadExecutor()
    store = Store.open(sys.argv[1], 1, executor=executor)
    lsn = store.applied_lsn
    while True:
        lsn += 1
        step(store.tables[0], lsn)
        store.freeze(lsn)
        store.write_frozen().result()
        store.written()
        print(lsn, flush=True)


if __name__ == "__main__":
    main()
