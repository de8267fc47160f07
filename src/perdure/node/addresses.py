"""Addresses of deployments in one spelling, so that the same address is seen to be the same."""

from __future__ import annotations

from urllib.parse import urlsplit

from perdure.node.errors import BadRequest


def normalised(uri: str) -> str:
    """`http://Host:9080/path?query#part` as `http://host:9080/path/?query`.

    Errors: BadRequest for what is no http or https URL.
    """
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError as why:
        raise _refused(f"The provided uri {uri} cannot be read: {why}.") from None
    if not parts.scheme or not parts.netloc:
        raise _refused(f"The provided uri {uri} is not absolute, only absolute URIs can be used.")
    if parts.scheme not in ("http", "https"):
        raise _refused(f"The provided uri {uri} has the scheme {parts.scheme}, only http and https can be used.")
    if not parts.hostname:
        raise _refused(f"The provided uri {uri} names no host.")
    if parts.username is not None:
        raise _refused(f"The provided uri {uri} may hold nothing but scheme, host, port, path and query.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{place}{path}{query}"


def same_place(one: str, other: str) -> bool:
    """Two normalised addresses are of the same deployment; what their queries say plays no part."""
    return one.partition("?")[0] == other.partition("?")[0]


def _refused(why: str) -> BadRequest:
    return BadRequest(f"The request field 'uri' is invalid. Reason: {why}")
