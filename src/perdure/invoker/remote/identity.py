"""`RequestIdentity`: signs requests to deployments, so that they can tell this server from anybody else who reaches them.

What always holds: a signature is good for one path and about a minute. The key comes from outside and is kept here only;
nothing of it but the public half is ever shown. Needs the package `cryptography` (extra `identity`).
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perdure.env.clock import Clock
from perdure.env.files import Files
from perdure.model.errors import PerdureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE_BYTES_MAX = 64 * 1024
EXPIRATION_S = 60
"""A signature counts from so long before it was made until so long after: clocks differ."""

_logger = logging.getLogger("perdure.invoker.remote")


class IdentityUnavailable(PerdureError):
    code = "PD0607"

    def __init__(self) -> None:
        super().__init__(
            "requests to deployments are to be signed, but the package `cryptography` is not installed.",
            "Install it: pip install 'perdure[identity]'.",
        )


class BadIdentityKey(PerdureError):
    code = "PD0608"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the private key of the request identity cannot be used: {why}.",
            "Give a file with one Ed25519 key as PKCS#8 PEM: openssl genpkey -algorithm ed25519.",
        )


class RequestIdentity:
    """Shapes:  private_key_pem is PKCS#8 with one Ed25519 key, not encrypted.
    Errors:  IdentityUnavailable, BadIdentityKey.
    """

    def __init__(self, private_key_pem: bytes, clock: Clock) -> None:
        self._clock = clock
        self._key, public = _read(private_key_pem)
        self.public_key = f"publickeyv1_{_base58(public)}"
        """What SDKs are configured with (`identity_keys`)."""
        self._header = _segment({"typ": "JWT", "alg": "EdDSA", "kid": self.public_key})

    def headers(self, path: str) -> Mapping[str, str]:
        """For a request to `path`, like `/invoke/Svc/handler` or `/discover`, relative to the deployment's address."""
        now_s = self._clock.now_ms() // 1000
        claims = {"aud": path, "iat": now_s, "nbf": now_s - EXPIRATION_S, "exp": now_s + EXPIRATION_S}
        signed = self._header + b"." + _segment(claims)
        token = signed + b"." + _base64(self._key.sign(signed))
        return {"x-restate-signature-scheme": "v1", "x-restate-jwt-v1": token.decode()}


def load_identity(files: Files, path: Path, clock: Clock) -> RequestIdentity:
    """Errors: IdentityUnavailable, BadIdentityKey (also when the file cannot be read)."""
    try:
        file = files.open(path, write=False)
        try:
            pem = file.pread(KEY_FILE_BYTES_MAX, 0)
        finally:
            file.close()
    except OSError as error:
        raise BadIdentityKey(f"{path} cannot be read: {error.strerror or error}") from None
    identity = RequestIdentity(pem, clock)
    _logger.info("requests to deployments are signed; the key for their SDKs is %s", identity.public_key)
    return identity


def _read(pem: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise IdentityUnavailable from None
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as why:
        raise BadIdentityKey(str(why).rstrip(".")) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadIdentityKey("it is of another kind than Ed25519")
    return key, key.public_key().public_bytes_raw()


def _segment(value: Mapping[str, object]) -> bytes:
    return _base64(msgspec.json.encode(value))


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return _BASE58[0] * zeros + digits
