"""The version of a state: a digest of its names and values, by which a change can be made to depend on what it changes.

The same as Restate's admin API computes, so that its command line can send it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping


def state_version(state: Mapping[str, bytes]) -> str:
    """SHA-256 over the entries in the order of their names, as base64url without padding."""
    digest = hashlib.sha256()
    for index, name in enumerate(sorted(state)):
        digest.update(index.to_bytes(8, "big"))
        digest.update(b"\x01" + name.encode() + b"\x02" + state[name] + b"\x03")
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
