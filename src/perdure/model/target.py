"""What an invocation is aimed at: service, key, handler, and their kinds."""

from __future__ import annotations

import enum

import msgspec


class ServiceKind(enum.IntEnum):
    SERVICE = 0
    VIRTUAL_OBJECT = 1
    WORKFLOW = 2


class HandlerKind(enum.IntEnum):
    """How a handler may run beside others of its key."""

    PLAIN = 0
    """Service handler: no key, no state, unlimited concurrency."""
    EXCLUSIVE = 1
    """Object handler: one at a time per key, may write state."""
    SHARED = 2
    """Object or workflow handler: concurrent, reads state, never writes it."""
    RUN = 3
    """Workflow run: once per key, may write state."""


class Target(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`service/handler` or `service/key/handler`; `key` is None for a plain service."""

    service: str
    key: str | None
    handler: str

    def __str__(self) -> str:
        middle = "" if self.key is None else f"{self.key}/"
        return f"{self.service}/{middle}{self.handler}"
