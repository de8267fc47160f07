"""What the store refuses or fails with: the codes PD0201 to PD0207 (pages in docs/errors/)."""

from __future__ import annotations

from perdure.model.errors import PerdureError


class StoreUnreadable(PerdureError):
    """The file is no SQLite database, is damaged, or cannot be opened."""

    code = "PD0201"


class RowCorrupt(PerdureError):
    """A row's bytes do not match its checksum, or do not decode."""

    code = "PD0202"


class StoreTooNew(PerdureError):
    """The file was written by a later version of perdure."""

    code = "PD0203"


class PartitionsDiffer(PerdureError):
    """The file holds another number of partitions than asked for."""

    code = "PD0204"


class CheckpointFailed(PerdureError):
    """A layer could not be written; the log still has everything. `no_space`: it may be tried again, otherwise it is fatal."""

    code = "PD0205"

    def __init__(self, what: str, next_step: str = "", *, no_space: bool = False) -> None:
        super().__init__(what, next_step)
        self.no_space = no_space


class CheckpointUnderWay(PerdureError):
    """A checkpoint was begun while the last one is still being written, or had failed."""

    code = "PD0206"


class ChecksumsMissing(PerdureError):
    """The installed apsw comes without the extension that keeps the checksums of pages."""

    code = "PD0207"
