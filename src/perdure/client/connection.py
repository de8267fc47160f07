"""One HTTP/1.1 connection to a server: a request, its response, the next request.

What always holds: a connection whose last response was not read to its end is never used again. Retries are not its business.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools

from perdure.client.address import Address

_READ_BYTES = 65_536


class Closed(ConnectionError):
    """The server closed the connection before the response was complete."""


@dataclass(slots=True)
class Response:
    """Shapes: header names are lower case; of a repeated one the last counts."""

    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


class Connection:
    """Made by `open_connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address) -> None:
        self._reader = reader
        self._writer = writer
        self._address = address
        self.reusable = True
        self.idle_since = 0.0

    @property
    def stale(self) -> bool:
        """The server has closed it while it was idle."""
        return not self.reusable or self._reader.at_eof() or self._writer.is_closing()

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Errors: OSError (Closed among them) when no complete response came, also if it was no HTTP."""
        self.reusable = False  # until the response has been read to its end
        self._writer.write(_head(method, self._address, path, headers, len(body)) + body)
        await self._writer.drain()
        reading = _Reading()
        parser = httptools.HttpResponseParser(reading)
        reading.parser = parser
        try:
            while not reading.complete:
                data = await self._reader.read(_READ_BYTES)
                if not data:
                    raise Closed("the server closed the connection")
                parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise Closed(f"what came is no HTTP response: {error}") from error
        self.reusable = reading.keep_alive
        return reading.response

    def close(self) -> None:
        self.reusable = False
        self._writer.close()


async def open_connection(address: Address) -> Connection:
    """Errors: OSError."""
    context = ssl.create_default_context() if address.tls else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    return Connection(reader, writer, address)


class _Reading:
    """What the parser calls while a response arrives."""

    def __init__(self) -> None:
        self.response = Response()
        self.complete = False
        self.keep_alive = False
        self.parser: Any = None
        self._body = bytearray()

    def on_status(self, status: bytes) -> None:
        self.response.reason += status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status: int = self.parser.get_status_code()
        if status < 200:  # an interim answer: the real one follows
            self.response = Response()
            return
        self.response.status = status
        self.response.body = bytes(self._body)
        self.keep_alive = self.parser.should_keep_alive()  # to be asked here: afterwards it speaks of the next response
        self.complete = True


def _head(method: str, address: Address, path: str, headers: Mapping[str, str], length: int) -> bytes:
    lines = [f"{method} {address.prefix}{path} HTTP/1.1", f"host: {address.authority}"]
    for name, value in headers.items():
        if any(character in "\r\n\0" for character in f"{name}{value}"):
            raise ValueError(f"the header {name!r} contains a line break")
        lines.append(f"{name}: {value}")
    if length or method != "GET":
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
