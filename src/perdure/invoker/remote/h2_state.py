"""What HTTP/2's protocol state is made of here: `h2`'s connection, with ends that can be lived with, and headers as text.

What always holds: nothing here reads, writes or waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from h2.config import H2Configuration
from h2.connection import H2Connection as H2State
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder, HeaderTuple
from hyperframe.frame import Frame, GoAwayFrame

from perdure.invoker.remote.connection import RESPONSE_HEAD_BYTES_MAX
from perdure.invoker.remote.head import RequestHead

Text: TypeAlias = bytes | str
Headers: TypeAlias = Iterable[HeaderTuple | tuple[Text, Text] | tuple[Text, Text, bool | None]] | dict[Text, Text]
_STATUS = re.compile("[1-9][0-9][0-9]")


class PlainEncoder(Encoder):
    """Leaves values as they are: hpack's Huffman code takes seconds for a key of 64 KiB, and more time than it saves for
    any header. What repeats is sent as a number all the same.
    """

    def encode(self, headers: Headers, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman=False)


class ClientState(H2State):
    def __init__(self, stream_window_bytes: int) -> None:
        super().__init__(H2Configuration(client_side=True, header_encoding=None))
        self.encoder = PlainEncoder()
        self.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: RESPONSE_HEAD_BYTES_MAX,
            },
        )

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        """h2 would close at once; but the streams that the peer still works on are to be finished."""
        terminated = ConnectionTerminated()
        terminated.error_code = frame.error_code
        terminated.last_stream_id = frame.last_stream_id
        return [], [terminated]


def request_fields(head: RequestHead) -> list[tuple[bytes, bytes]]:
    fields = [
        (b":method", head.method.encode()),
        (b":scheme", b"https" if head.origin.secure else b"http"),
        (b":authority", head.origin.authority.encode()),
        (b":path", head.target.encode()),
    ]
    fields += [(name.encode(), value.encode()) for name, value in head.headers]
    if head.content_length is not None and head.content_length > 0:
        fields.append((b"content-length", str(head.content_length).encode()))
    return fields


def list_size(fields: list[tuple[bytes, bytes]]) -> int:
    """As HTTP/2 counts it (RFC 9113, 6.5.2)."""
    return sum(len(name) + len(value) + 32 for name, value in fields)


def response_head(fields: list[tuple[bytes, bytes]]) -> tuple[int, dict[str, str]]:
    headers: dict[str, str] = {}
    status = 0
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("utf-8", "replace")
        if name == ":status":
            if not _STATUS.fullmatch(value):
                raise ProtocolError(f"status {value!r}")
            status = int(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return status, headers


def code_name(code: int | None) -> str:
    try:
        return ErrorCodes(code or 0).name
    except ValueError:
        return f"code {code}"
