"""Ids and partition keys, in the formats of Restate (docs/formats.md).

An invocation id is 24 raw bytes: a partition key (u64, big-endian) and 16 bytes that are unique within it. The engine
keeps raw bytes; text (`inv_1…`) appears only at the edges. Ids are made where a request enters, from the clock and the
random source of `env`, and are recorded: nothing here draws time or randomness.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NewType

import xxhash

InvocationId = NewType("InvocationId", bytes)
"""24 raw bytes: partition key (8, big-endian) then unique part (16)."""

INVOCATION_ID_BYTES = 24
CANCEL_SIGNAL = 1
"""Signal index that means "cancel"; 2 to 15 are reserved."""
FIRST_USER_SIGNAL = 17
"""Signal index of the first awakeable of an invocation."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGIT = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_U64_CHARS, _U128_CHARS = 11, 22
_VERSION = "1"


class BadId(ValueError):
    """Text that is no id of the expected kind; the message says why, without the id itself."""


def _base62(raw: bytes, width: int) -> str:
    # The number is the little-endian reading of the big-endian bytes: a quirk of the format, kept for compatibility.
    # Two digits at a time: an id is formatted for every reply.
    number = int.from_bytes(raw, "little")
    text = ""
    while number:
        number, pair = divmod(number, 3844)
        text = _PAIRS[pair] + text
    return text[-width:] if len(text) >= width else text.rjust(width, "0")


def _unbase62(text: str, size: int) -> bytes:
    number = 0
    for character in text:
        digit = _DIGIT.get(character)
        if digit is None:
            raise BadId("base62 decode error")
        number = number * 62 + digit
    try:
        return number.to_bytes(size, "little")
    except OverflowError:
        raise BadId("base62 decode error") from None


def hash_key(text: str) -> int:
    """The partition key (u64) of a service key."""
    return xxhash.xxh3_64_intdigest(text.encode() + b"\xff")


def partition_key(invocation_id: bytes) -> int:
    return int.from_bytes(invocation_id[:8], "big")


def partition_of(key: int, partitions: int) -> int:
    """The partition (0 to partitions-1) that owns a partition key: the u64 space cut into equal ranges."""
    return (key * partitions) >> 64


def derived_uuid(*parts: str) -> bytes:
    """The unique part of an id that must be found again: 16 bytes of SHA-256 over the comma-joined parts."""
    return hashlib.sha256(",".join(parts).encode()).digest()[:16]


def ulid(at_ms: int, random10: bytes) -> bytes:
    """A ULID as 16 bytes: 48 bits of Unix time in milliseconds, 80 random bits."""
    return at_ms.to_bytes(6, "big") + random10


def ulid_text(raw: bytes) -> str:
    """16 bytes as a ULID is usually written: 26 digits of Crockford's base 32."""
    number = int.from_bytes(raw, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def make_invocation_id(key: int, unique: bytes) -> InvocationId:
    return InvocationId(key.to_bytes(8, "big") + unique)


def keyed_invocation_id(
    service: str,
    key: str | None,
    handler: str,
    *,
    workflow_run: bool,
    idempotency_key: str | None,
    at_ms: int,
    random: bytes,
) -> InvocationId:
    """The id of a new invocation; `random` is 18 bytes, of which derived ids use none.

    A workflow run derives from its key and an idempotent request from its idempotency key, so that the same request
    finds the same invocation; every other id is a fresh ULID.
    """
    if key is not None:
        shard = hash_key(key)
    elif idempotency_key is not None:
        shard = hash_key(idempotency_key)
    else:
        shard = int.from_bytes(random[10:18], "big")
    if workflow_run and key is not None:
        unique = derived_uuid("wf", service, key)
    elif idempotency_key is not None:
        middle = (service,) if key is None else (service, key)
        unique = derived_uuid("ik", *middle, handler, idempotency_key)
    else:
        unique = ulid(at_ms, random[:10])
    return make_invocation_id(shard, unique)


def format_invocation_id(invocation_id: bytes) -> str:
    return "inv_" + _VERSION + _base62(invocation_id[:8], _U64_CHARS) + _base62(invocation_id[8:], _U128_CHARS)


def parse_invocation_id(text: str) -> InvocationId:
    """The raw id of `inv_1…` text. Errors: BadId."""
    body = _body(text, "inv")
    if len(body) != _U64_CHARS + _U128_CHARS:
        raise BadId("bad length")
    return InvocationId(_unbase62(body[:_U64_CHARS], 8) + _unbase62(body[_U64_CHARS:], 16))


def format_ulid(prefix: str, raw: bytes) -> str:
    """An id of another kind (`dp`, `sub`) over 16 raw bytes."""
    return f"{prefix}_{_VERSION}{_base62(raw, _U128_CHARS)}"


def parse_ulid(prefix: str, text: str) -> bytes:
    body = _body(text, prefix)
    if len(body) != _U128_CHARS:
        raise BadId("bad length")
    return _unbase62(body, 16)


def format_awakeable_id(invocation_id: bytes, signal: int) -> str:
    raw = invocation_id + signal.to_bytes(4, "big")
    return "sign_" + _VERSION + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parse_awakeable_id(text: str) -> tuple[InvocationId, int]:
    """The invocation and the signal index that an awakeable id stands for. Errors: BadId."""
    body = _body(text, "sign", "prom").rstrip("=")
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise BadId("codec error") from None
    if len(raw) != INVOCATION_ID_BYTES + 4:
        raise BadId("bad length")
    return InvocationId(raw[:INVOCATION_ID_BYTES]), int.from_bytes(raw[INVOCATION_ID_BYTES:], "big")


def _body(text: str, *prefixes: str) -> str:
    prefix, separator, rest = text.partition("_")
    if not separator and text:
        raise BadId("bad format")
    if not rest:
        raise BadId("bad length")
    if prefix not in prefixes:
        raise BadId("id doesn't match the expected type")
    if rest[0] != _VERSION:
        raise BadId("unrecognized codec version")
    return rest[1:]
