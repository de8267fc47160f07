"""`InvocationRetryPolicy`, as in `restate.retry_policy`."""

from perdure.sdk.retry import InvocationRetryPolicy as InvocationRetryPolicy

__all__ = [
    "InvocationRetryPolicy",
]
