"""The app of this process, seen as a deployment: the admin API and SQL show it as one among the others."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from perdure.model.ids import format_ulid

LOCAL_URI = "in-process://local/"
LOCAL_REVISION = 1
LOCAL_PROTOCOL_VERSIONS = (5, 6)
"""The lowest and the highest that it could be asked in, if it were elsewhere."""


@lru_cache(maxsize=1024)
def local_deployment_id(identity: str) -> str:
    """It follows from the identity of the code, so that it stays the same for as long as that does."""
    return format_ulid("dp", hashlib.sha256(identity.encode()).digest()[:16])


def pinned_deployment(deployment: str | None, *, remote: bool) -> str | None:
    """The id of the deployment that a row names: of a remote one, or of the code in the node's process, by its identity."""
    return deployment if deployment is None or remote else local_deployment_id(deployment)
