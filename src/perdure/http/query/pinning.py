"""Which deployment an invocation is shown with."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from perdure.model.ids import format_ulid


@lru_cache(maxsize=1024)
def pinned_deployment(deployment: str | None, *, remote: bool) -> str | None:
    """The id of the deployment that a row names: of a remote one, or of the code in the node's process, by its identity."""
    if deployment is None or remote:
        return deployment
    return format_ulid("dp", hashlib.sha256(deployment.encode()).digest()[:16])
