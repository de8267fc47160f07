"""What can go wrong with a log. Codes PD0101 to PD0109; each has its page under docs/errors."""

from __future__ import annotations

from typing import ClassVar

from perdure.model.errors import PerdureError


class LogError(PerdureError):
    """Base of the errors of this room."""


class LogCorrupt(LogError):
    """Bytes that were synced are bad or gone. `segment` is a file name, `offset` a byte offset in it."""

    code: ClassVar[str] = "PD0101"

    def __init__(self, segment: str, offset: int, what: str) -> None:
        super().__init__(
            f"{segment} is damaged at byte {offset}: {what}.",
            "Nothing was changed. Restore the data directory from a copy; `perdure log verify` shows what is readable.",
        )
        self.segment = segment
        self.offset = offset


class LogFormatUnknown(LogError):
    """The log was written in a format that this version does not know."""

    code: ClassVar[str] = "PD0102"

    def __init__(self, segment: str, offset: int, what: str) -> None:
        super().__init__(
            f"{segment} at byte {offset} has {what}, which this version of perdure does not know.",
            "Nothing was changed. Start the version that wrote it, or a newer one.",
        )
        self.segment = segment
        self.offset = offset


class StoreAheadOfLog(LogError):
    """The store has applied records that the log does not hold."""

    code: ClassVar[str] = "PD0103"

    def __init__(self, checkpoint_lsn: int, last_lsn: int, place: str) -> None:
        super().__init__(
            f"the store stands at LSN {checkpoint_lsn}, but the log ends at LSN {last_lsn} ({place}).",
            "Log and store belong together: put back the log directory that goes with this store.",
        )


class LogStopped(LogError):
    """Appended to, or waited for, a log that failed or was closed."""

    code: ClassVar[str] = "PD0104"


class LogFailed(LogError):
    """A write or a sync failed: what the disk holds of it is unknown, so nothing more is written by this process."""

    code: ClassVar[str] = "PD0105"

    def __init__(self, doing: str, error: BaseException) -> None:
        super().__init__(
            f"{doing} failed: {error}.",
            "The node stops; nothing that was acknowledged is lost. Look to the disk, then start it again.",
        )


class LogLocked(LogError):
    code: ClassVar[str] = "PD0106"

    def __init__(self, directory: str, owner: str) -> None:
        super().__init__(
            f"{directory} is in use by {owner or 'another process'}.", "Stop that one first, or name another directory."
        )


class RecordRefused(LogError):
    """A record that cannot stand in the log: too large, or with a value that cannot be encoded."""

    code: ClassVar[str] = "PD0107"

    def __init__(self, record: object, what: str) -> None:
        super().__init__(
            f"a record of type {type(record).__name__} cannot be stored: {what}.",
            "Nothing of it was stored; other records are not affected.",
        )


class LogTrimmed(LogError):
    """Records that are asked for were trimmed, or are missing at the log's beginning."""

    code: ClassVar[str] = "PD0108"

    def __init__(self, wanted_lsn: int, first_lsn: int) -> None:
        super().__init__(
            f"LSN {wanted_lsn} is asked for, but the log begins at LSN {first_lsn}.",
            "Log and store belong together: put back the store that goes with this log, or the segments before it.",
        )


class RecordUnknown(LogError):
    """A batch is intact, but this version cannot read a record in it."""

    code: ClassVar[str] = "PD0109"

    def __init__(self, segment: str, offset: int, first_lsn: int, what: str) -> None:
        super().__init__(
            f"the batch at LSN {first_lsn} ({segment}, byte {offset}) is intact but cannot be read: {what}.",
            "Nothing was changed. Start the version that wrote it, or a newer one.",
        )
