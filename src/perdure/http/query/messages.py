"""What the node and the process that runs a query say to each other, and how that goes through a pipe.

The worker says that it is `Ready`. The node asks `Ask`. The worker answers `Answer` or `Refused`, or says what it `Needs`
of the tables: then the node sends `Facts`, `Rows` for each need, as they are stored, and `End`, and the worker answers.
A frame is a length and one message.
"""

from __future__ import annotations

import struct
from typing import IO, Any, Literal, TypeAlias

import msgspec

Form: TypeAlias = Literal["json", "arrow", "table", "postgres", "postgres-shape"]
"""What the answer looks like: JSON rows, an Arrow IPC stream, JSON with columns in order, messages of the PostgreSQL wire,
or only the description of their columns."""
Kind: TypeAlias = Literal[
    "syntax",
    "plan",
    "no-group",
    "optimizer",
    "not-implemented",
    "no-table",
    "no-column",
    "no-function",
    "read-only",
    "memory",
    "size",
    "failed",
]


class _Message(msgspec.Struct, array_like=True, gc=False, tag=True):
    pass


class Ready(_Message):
    """The process has started."""


class Ask(_Message):
    sql: str
    form: Form
    seconds_max: float
    answer_bytes_max: int
    binary: list[int] = []
    """PostgreSQL's format codes of the columns: none (all text), one for all, or one each."""


class Need(msgspec.Struct, array_like=True, gc=False):
    """Rows of one table. Those that do not fit `wanted` and `unwanted` may come, and are passed over.

    `limit`: any so many rows are enough.
    """

    table: str
    columns: list[str]
    wanted: dict[str, list[str]] = {}
    unwanted: dict[str, list[str]] = {}
    limit: int | None = None


class Needs(_Message):
    needs: list[Need]


class Rows(_Message):
    """A chunk of stored rows for one need: invocations, or what `source` says."""

    table: str
    source: Literal["invocation", "journal", "event", "state", "promise"]
    rows: list[tuple[Any, ...]]  # numbers, text and bytes: msgspec tells text from bytes only where it is told nothing


class ServiceFacts(msgspec.Struct, array_like=True, gc=False):
    name: str
    revision: int
    public: bool
    kind: str
    deployment_id: str


class DeploymentFacts(msgspec.Struct, array_like=True, gc=False):
    id: str
    kind: str
    endpoint: str
    created_at_ms: int
    min_protocol_version: int
    max_protocol_version: int
    services: list[str]
    server: str | None = None
    """How it calls itself: its SDK and the version of that."""


class Facts(_Message):
    """What no row says, as of the same LSN. `attempts`: (partition, seq) of the invocations with an attempt under way."""

    now_ms: int
    attempts: list[tuple[int, int]]
    services: list[ServiceFacts]
    deployments: list[DeploymentFacts]


class End(_Message):
    """All rows have come."""


class Answer(_Message):
    body: bytes
    rows: int
    shape: bytes = b""
    """PostgreSQL: the message that describes the columns."""


class Refused(_Message):
    kind: Kind
    message: str
    """What is wrong, for people."""
    original: str = ""
    """The engine's own words, for clients of Restate; empty: the same."""


ToWorker: TypeAlias = Ask | Facts | Rows | End
FromWorker: TypeAlias = Ready | Needs | Answer | Refused

_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def send(pipe: IO[bytes], message: ToWorker | FromWorker) -> None:
    """Write one message and flush it. Errors: OSError when the other side is gone."""
    body = _encode(message)
    pipe.write(_LENGTH.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def receive_from_worker(pipe: IO[bytes]) -> FromWorker:
    """Errors: EOFError."""
    return _from_worker.decode(_frame(pipe))


def receive_from_node(pipe: IO[bytes]) -> ToWorker:
    """Errors: EOFError."""
    return _to_worker.decode(_frame(pipe))


def _frame(pipe: IO[bytes]) -> bytes:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    if len(body) < length:
        raise EOFError
    return body
