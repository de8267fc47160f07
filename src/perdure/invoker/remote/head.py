"""Where a request goes and what stands at its head, in the form that both versions of HTTP can send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from perdure.invoker.remote.errors import UnfitRequest

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    )
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_UNFIT_IN_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_UNFIT_IN_TARGET = re.compile("[^\x21-\x7e]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    secure: bool
    host: str
    """Without brackets."""
    port: int

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RequestHead:
    method: str
    origin: Origin
    target: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...]
    content_length: int | None
    """None: not known yet, the body is streamed."""


def request_head(
    method: str, uri: str, path: str, headers: Mapping[str, str], content_length: int | None = None
) -> RequestHead:
    """Shapes:  uri is http(s)://host[:port][/base][?query]; path is relative to it, percent-encoded.
    Errors:  UnfitRequest for what HTTP cannot carry. Headers that belong to a connection are left out.
    """
    origin, base = split_uri(uri)
    query = uri.partition("?")[2]
    target = f"{base}{path.lstrip('/')}{'?' if query else ''}{query}"
    if _UNFIT_IN_TARGET.search(target):
        raise UnfitRequest(f"the path {target!r} cannot be sent.", "Percent-encode it.")
    fields: dict[str, str] = {}
    for given, value in headers.items():
        name = given.lower()
        if name in _HOP_BY_HOP:
            continue
        if not _NAME.fullmatch(name) or _UNFIT_IN_VALUE.search(value):
            raise UnfitRequest(f"the header {given!r} cannot be sent.", "Correct the deployment's additional headers.")
        fields[name] = value.strip(" \t")
    return RequestHead(method, origin, target, tuple(fields.items()), content_length)


def split_uri(uri: str) -> tuple[Origin, str]:
    """Its origin, and its path with a slash at the end."""
    try:
        parts = urlsplit(uri)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise UnfitRequest(f"{uri!r} is no address: {error}.", "Give http://host:port or https://host:port.") from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise UnfitRequest(f"{uri!r} is no address.", "Give http://host:port or https://host:port.")
    origin = Origin(parts.scheme == "https", host, _DEFAULT_PORTS[parts.scheme] if port is None else port)
    return origin, parts.path if parts.path.endswith("/") else f"{parts.path}/"
