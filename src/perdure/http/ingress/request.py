"""What is read of a request: its headers, its query, its body. Nothing is decided here but what cannot be read."""

from __future__ import annotations

from urllib.parse import unquote_plus, unquote_to_bytes

from perdure.http.asgi import ClientGone, RawHeaders, Receive
from perdure.http.ingress.refusals import RequestRefused, bad_request, body_too_large
from perdure.model import limits
from perdure.model.journal import Headers

INGRESS_PATH_HEADER = "x-restate-ingress-path"
_CONTENT_TYPE, _LENGTH, _IDEMPOTENCY, _TRACEPARENT, _TRACESTATE, _LIMIT_KEY, _ORIGIN, _DROPPED = range(1, 9)
_SPECIAL = {
    b"content-type": _CONTENT_TYPE,
    b"content-length": _LENGTH,
    b"idempotency-key": _IDEMPOTENCY,
    b"traceparent": _TRACEPARENT,
    b"tracestate": _TRACESTATE,
    b"x-restate-limit-key": _LIMIT_KEY,
    b"origin": _ORIGIN,
    b"connection": _DROPPED,
    b"host": _DROPPED,
    b"idempotency-expires": _DROPPED,
    # The server's own word: a client must not be able to speak it.
    INGRESS_PATH_HEADER.encode(): _DROPPED,
}
_TRACEPARENT_CHARS = 55


class RequestHead:
    """The headers of a request for an invocation: what the handler sees of them, and what the server acts on."""

    __slots__ = (
        "content_length",
        "content_type",
        "forwarded",
        "idempotency_key",
        "limit_key",
        "origin",
        "traceparent",
        "tracestate",
    )

    def __init__(self, raw: RawHeaders, path_and_query: str) -> None:
        if len(raw) > limits.HEADERS_MAX:
            raise RequestRefused(431, f"the request has {len(raw)} headers; at most {limits.HEADERS_MAX} are accepted")
        self.content_type: str | None = None
        self.content_length: int | None = None
        self.idempotency_key: str | None = None
        self.traceparent: str | None = None
        self.tracestate: str | None = None
        self.limit_key: str | None = None
        self.origin: str | None = None
        self.forwarded: Headers = [(INGRESS_PATH_HEADER, path_and_query)]
        forward = self.forwarded.append
        for raw_name, raw_value in raw:
            try:
                value = raw_value.decode("ascii").strip(" \t")
            except UnicodeDecodeError:
                raise bad_request(f"bad header {raw_name.decode('latin-1')}: its value is not ASCII") from None
            special = _SPECIAL.get(raw_name)
            if special is None or self._takes(special, value):
                forward((raw_name.decode("ascii"), value))

    def _takes(self, special: int, value: str) -> bool:
        """Note a header that means something to the server; True: the handler sees it too. The first one counts."""
        if special == _CONTENT_TYPE:
            self.content_type = value if self.content_type is None else self.content_type
        elif special == _LENGTH:
            self.content_length = int(value) if value.isdigit() else None
        elif special == _IDEMPOTENCY:
            self.idempotency_key = value if self.idempotency_key is None else self.idempotency_key
            return False
        elif special == _TRACEPARENT:
            # A malformed one is ignored, as the W3C rules ask.
            if len(value) == _TRACEPARENT_CHARS and value.count("-") == 3:
                self.traceparent = value
        elif special == _TRACESTATE:
            self.tracestate = value if self.tracestate is None else f"{self.tracestate},{value}"
        elif special == _LIMIT_KEY:
            self.limit_key = value
        elif special == _ORIGIN:
            self.origin = value if self.origin is None else self.origin
        else:
            return False
        return True


async def read_body(receive: Receive, limit: int, declared: int | None = None) -> bytes:
    """The whole body, if it is no larger than `limit` bytes; a larger one is refused without being read to its end.

    Errors: RequestRefused (413); ClientGone when the connection ends first.
    """
    if declared is not None and declared > limit:
        raise body_too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise body_too_large(limit)
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        if size > limit:
            raise body_too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise body_too_large(limit)
    return b"".join(parts)


def query_values(query: bytes) -> dict[str, str]:
    """Parameters by lower-case name; of a repeated one the first counts."""
    values: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        values.setdefault(unquote_plus(name).lower(), unquote_plus(value))
    return values


def decode_segment(segment: str) -> str:
    """A path segment without its percent-encoding; a `%` that encodes nothing stands for itself.

    Errors: RequestRefused when it is no UTF-8.
    """
    if "%" not in segment and segment.isascii():
        return segment
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise bad_request("bad path, cannot decode key: it is not UTF-8") from None
