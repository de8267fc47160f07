"""perdure: durable async/await for Python.

The names an author writes; each is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
"""Known to type checkers by its name; importing `typing` for it would cost more than all the rest here."""

if TYPE_CHECKING:
    from typing import Any

    from perdure import client as client
    from perdure import client_types as client_types
    from perdure import context as context
    from perdure import endpoint as endpoint
    from perdure import exceptions as exceptions
    from perdure import extensions as extensions
    from perdure import harness as harness
    from perdure import logging as logging
    from perdure import retry_policy as retry_policy
    from perdure import serde as serde
    from perdure import types as types
    from perdure.client.client import Client as Client
    from perdure.client.client import Output as Output
    from perdure.client.client_types import HttpError as HttpError
    from perdure.client.client_types import RestateClient as RestateClient
    from perdure.client.client_types import RestateClientSendHandle as RestateClientSendHandle
    from perdure.client.client_types import Sent as Sent
    from perdure.client.connecting import connect as connect
    from perdure.client.connecting import connect_sync as connect_sync
    from perdure.client.connecting import create_client as create_client
    from perdure.client.connecting import with_connection as with_connection
    from perdure.client.errors import CallFailed as CallFailed
    from perdure.client.errors import CallTimeout as CallTimeout
    from perdure.client.errors import ConnectError as ConnectError
    from perdure.client.errors import ConnectionLost as ConnectionLost
    from perdure.client.errors import Refused as Refused
    from perdure.client.errors import Unreachable as Unreachable
    from perdure.client.sync import SyncClient as SyncClient
    from perdure.embedded import Node as Node
    from perdure.model.version import VERSION as __version__
    from perdure.node.settings import EngineSettings as EngineSettings
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
    from perdure.testing.environment import HarnessEnvironment as HarnessEnvironment
    from perdure.testing.harness import create_test_harness as create_test_harness
    from perdure.testing.harness import test_harness as test_harness

_WHERE = {
    "App": "app:App",
    "CallFailed": "perdure.client.errors:CallFailed",
    "CallTimeout": "perdure.client.errors:CallTimeout",
    "Client": "perdure.client.client:Client",
    "ConnectError": "perdure.client.errors:ConnectError",
    "ConnectionLost": "perdure.client.errors:ConnectionLost",
    "Context": "context:Context",
    "DeterminismWarning": "errors:DeterminismWarning",
    "DurablePromise": "context:DurablePromise",
    "EngineSettings": "perdure.node.settings:EngineSettings",
    "HarnessEnvironment": "perdure.testing.environment:HarnessEnvironment",
    "HttpError": "perdure.client.client_types:HttpError",
    "InvocationRetryPolicy": "retry:InvocationRetryPolicy",
    "JournalValueCodec": "codec:JournalValueCodec",
    "JournalValueCodecProvider": "codec:JournalValueCodecProvider",
    "Node": "perdure.embedded:Node",
    "ObjectContext": "context:ObjectContext",
    "ObjectSharedContext": "context:ObjectSharedContext",
    "Output": "perdure.client.client:Output",
    "Refused": "perdure.client.errors:Refused",
    "Request": "context:Request",
    "RestateClient": "perdure.client.client_types:RestateClient",
    "RestateClientSendHandle": "perdure.client.client_types:RestateClientSendHandle",
    "RestateDurableCallFuture": "futures:RestateDurableCallFuture",
    "RestateDurableFuture": "futures:RestateDurableFuture",
    "RestateDurableSleepFuture": "futures:RestateDurableSleepFuture",
    "RestateLoggingFilter": "logging:RestateLoggingFilter",
    "RetryableError": "errors:RetryableError",
    "RunOptions": "steps:RunOptions",
    "ScopedContext": "scoped:ScopedContext",
    "SdkInternalBaseException": "errors:SdkInternalBaseException",
    "SendHandle": "futures:SendHandle",
    "Sent": "perdure.client.client_types:Sent",
    "Service": "service:Service",
    "SyncClient": "perdure.client.sync:SyncClient",
    "TerminalError": "errors:TerminalError",
    "Unreachable": "perdure.client.errors:Unreachable",
    "VirtualObject": "object:VirtualObject",
    "Workflow": "workflow:Workflow",
    "WorkflowContext": "context:WorkflowContext",
    "WorkflowSharedContext": "context:WorkflowSharedContext",
    "__version__": "perdure.model.version:VERSION",
    "app": "app:app",
    "as_completed": "combinators:as_completed",
    "connect": "perdure.client.connecting:connect",
    "connect_sync": "perdure.client.connecting:connect_sync",
    "create_client": "perdure.client.connecting:create_client",
    "create_test_harness": "perdure.testing.harness:create_test_harness",
    "current_context": "runtime:current_context",
    "gather": "combinators:gather",
    "getLogger": "logging:getLogger",
    "is_internal_exception": "errors:is_internal_exception",
    "logging": "perdure.logging",
    "select": "combinators:select",
    "test_harness": "perdure.testing.harness:test_harness",
    "wait_completed": "combinators:wait_completed",
    "with_connection": "perdure.client.connecting:with_connection",
}

_MODULES = frozenset(
    (
        "asyncio",
        "aws_lambda",
        "client",
        "client_types",
        "connection",
        "context",
        "context_managers",
        "endpoint",
        "entry_codec",
        "exceptions",
        "extensions",
        "harness",
        "object",
        "retry_policy",
        "serde",
        "server_types",
        "service",
        "types",
        "workflow",
    )
)
"""Those of Restate's SDK, reached as attributes as there (docs/drop-in.md)."""

__all__ = [
    "App",
    "CallFailed",
    "CallTimeout",
    "Client",
    "ConnectError",
    "ConnectionLost",
    "Context",
    "DeterminismWarning",
    "DurablePromise",
    "EngineSettings",
    "HarnessEnvironment",
    "HttpError",
    "InvocationRetryPolicy",
    "JournalValueCodec",
    "JournalValueCodecProvider",
    "Node",
    "ObjectContext",
    "ObjectSharedContext",
    "Output",
    "Refused",
    "Request",
    "RestateClient",
    "RestateClientSendHandle",
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
    "SyncClient",
    "TerminalError",
    "Unreachable",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "WorkflowSharedContext",
    "__version__",
    "app",
    "as_completed",
    "connect",
    "connect_sync",
    "create_client",
    "create_test_harness",
    "current_context",
    "gather",
    "getLogger",
    "is_internal_exception",
    "logging",
    "select",
    "test_harness",
    "wait_completed",
    "with_connection",
]


def __getattr__(name: str) -> Any:
    where = f"perdure.{name}" if name in _MODULES else _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    module_name, _, attribute = where.partition(":")
    module = importlib.import_module(module_name if "." in module_name else f"perdure.sdk.{module_name}")
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
