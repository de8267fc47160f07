"""`Exchange` and `Listener`: one request to a deployment and its response, both streamed, as the attempt sees them.

What always holds: every method returns at once, and every callback comes on the loop, never from inside the call that
caused it to be opened. After `on_end`, `on_broken` or `abort()` there is no further callback, and `send` and `end` do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from perdure.invoker.remote.errors import TransportFailed


class Exchange(Protocol):
    @property
    def buffered(self) -> int:
        """Bytes of the request that the peer has not yet taken (its window is closed, or it is not reached yet)."""
        ...

    def send(self, data: bytes) -> None: ...

    def end(self) -> None:
        """Half-close: the request is complete; the response goes on."""
        ...

    def abort(self, *, silent: bool = False) -> None:
        """Give up both directions; the peer sees a reset.

        `silent`: because the peer said nothing for too long; its connection takes no new exchanges, for another one may
        lead to a process that answers.
        """
        ...

    def pause_reading(self) -> None:
        """No `on_data` until `resume_reading`: the peer is held back once its window is used up."""
        ...

    def resume_reading(self) -> None: ...


class Listener(Protocol):
    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Names in lower case; of repeated headers the values, joined by a comma."""
        ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self) -> None:
        """The response is complete. A request that was not ended yet is ended or reset."""
        ...

    def on_broken(self, error: TransportFailed) -> None: ...


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes
    http_version: str
    """`HTTP/2.0` or `HTTP/1.1`: what was spoken."""
