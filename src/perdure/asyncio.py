"""Waiting for several durable futures, as in `restate.asyncio`."""

from perdure.sdk.combinators import as_completed as as_completed
from perdure.sdk.combinators import gather as gather
from perdure.sdk.combinators import select as select
from perdure.sdk.combinators import wait_completed as wait_completed

__all__ = [
    "as_completed",
    "gather",
    "select",
    "wait_completed",
]
