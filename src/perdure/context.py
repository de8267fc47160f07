"""The contexts of handlers and what they give, as in `restate.context`."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeAlias, TypeVar

from perdure.sdk.context import AttemptFinishedEvent as AttemptFinishedEvent
from perdure.sdk.context import Context as Context
from perdure.sdk.context import DurablePromise as DurablePromise
from perdure.sdk.context import KeyValueStore as KeyValueStore
from perdure.sdk.context import ObjectContext as ObjectContext
from perdure.sdk.context import ObjectSharedContext as ObjectSharedContext
from perdure.sdk.context import Request as Request
from perdure.sdk.context import WorkflowContext as WorkflowContext
from perdure.sdk.context import WorkflowSharedContext as WorkflowSharedContext
from perdure.sdk.futures import RestateDurableCallFuture as RestateDurableCallFuture
from perdure.sdk.futures import RestateDurableFuture as RestateDurableFuture
from perdure.sdk.futures import RestateDurableSleepFuture as RestateDurableSleepFuture
from perdure.sdk.futures import SendHandle as SendHandle
from perdure.sdk.scoped import ScopedContext as ScopedContext
from perdure.sdk.steps import RunOptions as RunOptions

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")

HandlerType: TypeAlias = Callable[[Any, I], Awaitable[O]] | Callable[[Any], Awaitable[O]]
RunAction: TypeAlias = Callable[..., Coroutine[Any, Any, T]] | Callable[..., T]

__all__ = [
    "AttemptFinishedEvent",
    "Context",
    "DurablePromise",
    "HandlerType",
    "KeyValueStore",
    "ObjectContext",
    "ObjectSharedContext",
    "Request",
    "RestateDurableCallFuture",
    "RestateDurableFuture",
    "RestateDurableSleepFuture",
    "RunAction",
    "RunOptions",
    "ScopedContext",
    "SendHandle",
    "WorkflowContext",
    "WorkflowSharedContext",
]
