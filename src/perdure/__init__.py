"""perdure: durable async/await for Python.

The names an author writes; each is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
"""Known to type checkers by its name; importing `typing` for it would cost more than all the rest here."""

if TYPE_CHECKING:
    from typing import Any

    from perdure.embedded import Client as Client
    from perdure.embedded import Node as Node
    from perdure.embedded import Sent as Sent
    from perdure.model.version import VERSION as __version__
    from perdure.node.settings import EngineSettings as EngineSettings
    from perdure.sdk import logging as logging
    from perdure.sdk.app import App as App
    from perdure.sdk.app import app as app
    from perdure.sdk.codec import JournalValueCodec as JournalValueCodec
    from perdure.sdk.codec import JournalValueCodecProvider as JournalValueCodecProvider
    from perdure.sdk.combinators import as_completed as as_completed
    from perdure.sdk.combinators import gather as gather
    from perdure.sdk.combinators import select as select
    from perdure.sdk.combinators import wait_completed as wait_completed
    from perdure.sdk.context import Context as Context
    from perdure.sdk.context import DurablePromise as DurablePromise
    from perdure.sdk.context import ObjectContext as ObjectContext
    from perdure.sdk.context import ObjectSharedContext as ObjectSharedContext
    from perdure.sdk.context import Request as Request
    from perdure.sdk.context import WorkflowContext as WorkflowContext
    from perdure.sdk.context import WorkflowSharedContext as WorkflowSharedContext
    from perdure.sdk.errors import DeterminismWarning as DeterminismWarning
    from perdure.sdk.errors import RetryableError as RetryableError
    from perdure.sdk.errors import SdkInternalBaseException as SdkInternalBaseException
    from perdure.sdk.errors import TerminalError as TerminalError
    from perdure.sdk.errors import is_internal_exception as is_internal_exception
    from perdure.sdk.futures import RestateDurableCallFuture as RestateDurableCallFuture
    from perdure.sdk.futures import RestateDurableFuture as RestateDurableFuture
    from perdure.sdk.futures import RestateDurableSleepFuture as RestateDurableSleepFuture
    from perdure.sdk.futures import SendHandle as SendHandle
    from perdure.sdk.logging import RestateLoggingFilter as RestateLoggingFilter
    from perdure.sdk.logging import getLogger as getLogger
    from perdure.sdk.object import VirtualObject as VirtualObject
    from perdure.sdk.retry import InvocationRetryPolicy as InvocationRetryPolicy
    from perdure.sdk.runtime import current_context as current_context
    from perdure.sdk.scoped import ScopedContext as ScopedContext
    from perdure.sdk.service import Service as Service
    from perdure.sdk.steps import RunOptions as RunOptions
    from perdure.sdk.workflow import Workflow as Workflow

_WHERE = {
    "App": "app:App",
    "Client": "perdure.embedded:Client",
    "Context": "context:Context",
    "DeterminismWarning": "errors:DeterminismWarning",
    "DurablePromise": "context:DurablePromise",
    "EngineSettings": "perdure.node.settings:EngineSettings",
    "InvocationRetryPolicy": "retry:InvocationRetryPolicy",
    "JournalValueCodec": "codec:JournalValueCodec",
    "JournalValueCodecProvider": "codec:JournalValueCodecProvider",
    "Node": "perdure.embedded:Node",
    "ObjectContext": "context:ObjectContext",
    "ObjectSharedContext": "context:ObjectSharedContext",
    "Request": "context:Request",
    "RestateDurableCallFuture": "futures:RestateDurableCallFuture",
    "RestateDurableFuture": "futures:RestateDurableFuture",
    "RestateDurableSleepFuture": "futures:RestateDurableSleepFuture",
    "RestateLoggingFilter": "logging:RestateLoggingFilter",
    "RetryableError": "errors:RetryableError",
    "RunOptions": "steps:RunOptions",
    "ScopedContext": "scoped:ScopedContext",
    "SdkInternalBaseException": "errors:SdkInternalBaseException",
    "SendHandle": "futures:SendHandle",
    "Sent": "perdure.embedded:Sent",
    "Service": "service:Service",
    "TerminalError": "errors:TerminalError",
    "VirtualObject": "object:VirtualObject",
    "Workflow": "workflow:Workflow",
    "WorkflowContext": "context:WorkflowContext",
    "WorkflowSharedContext": "context:WorkflowSharedContext",
    "__version__": "perdure.model.version:VERSION",
    "app": "app:app",
    "as_completed": "combinators:as_completed",
    "current_context": "runtime:current_context",
    "gather": "combinators:gather",
    "getLogger": "logging:getLogger",
    "is_internal_exception": "errors:is_internal_exception",
    "logging": "logging",
    "select": "combinators:select",
    "wait_completed": "combinators:wait_completed",
}

__all__ = [
    "App",
    "Client",
    "Context",
    "DeterminismWarning",
    "DurablePromise",
    "EngineSettings",
    "InvocationRetryPolicy",
    "JournalValueCodec",
    "JournalValueCodecProvider",
    "Node",
    "ObjectContext",
    "ObjectSharedContext",
    "Request",
    "RestateDurableCallFuture",
    "RestateDurableFuture",
    "RestateDurableSleepFuture",
    "RestateLoggingFilter",
    "RetryableError",
    "RunOptions",
    "ScopedContext",
    "SdkInternalBaseException",
    "SendHandle",
    "Sent",
    "Service",
    "TerminalError",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "WorkflowSharedContext",
    "__version__",
    "app",
    "as_completed",
    "current_context",
    "gather",
    "getLogger",
    "is_internal_exception",
    "logging",
    "select",
    "wait_completed",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    module_name, _, attribute = where.partition(":")
    module = importlib.import_module(module_name if "." in module_name else f"perdure.sdk.{module_name}")
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
