"""`Workflow`, as in `restate.workflow`."""

from perdure.sdk.workflow import Workflow as Workflow

__all__ = [
    "Workflow",
]
