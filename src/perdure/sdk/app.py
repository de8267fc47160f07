"""`app(services)`: the set of services that can be run in this process (`model.driver.App`)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from perdure.model.driver import AttemptStart, Driver, InputRejected
from perdure.model.errors import PerdureError
from perdure.model.service import HandlerSpec, Policies, ServiceSpec
from perdure.model.target import Target
from perdure.sdk.attempt import Attempt
from perdure.sdk.codec import Codec, CodecAdapter, JournalValueCodec, JournalValueCodecProvider
from perdure.sdk.dev import DevWatch
from perdure.sdk.errors import RegistrationError
from perdure.sdk.handler import Handler, Settings
from perdure.sdk.identity import identity_of
from perdure.sdk.retry import InvocationRetryPolicy
from perdure.sdk.serde import in_words, takes_nothing
from perdure.sdk.service import Registry


class App:
    """Services by name. `dev` turns on the checks that cost time: raw clock, randomness and I/O in bodies.

    The other settings hold for each handler, unless its service or the handler itself says otherwise.
    """

    def __init__(
        self,
        services: Iterable[Registry] = (),
        *,
        protocol: Literal["bidi", "request_response"] | None = None,
        identity_keys: list[str] | None = None,
        journal_value_codec: JournalValueCodec | JournalValueCodecProvider | None = None,
        dev: bool | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
        workflow_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
    ) -> None:
        self.policies = Settings(
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            idempotency_retention=idempotency_retention,
            workflow_retention=workflow_retention,
            enable_lazy_state=enable_lazy_state,
            ingress_private=ingress_private,
            retry_policy=invocation_retry_policy,
        ).policies()
        self.protocol = protocol
        self.identity_keys = list(identity_keys or ())
        self.dev = os.environ.get("PERDURE_DEV", "") not in ("", "0") if dev is None else dev
        self._codec: Codec | None = None if journal_value_codec is None else CodecAdapter(journal_value_codec)
        self._services: dict[str, Registry] = {}
        self._policies: dict[str, Policies] = {}
        self._identity: str | None = None
        self._watch: DevWatch | None = None
        self._deployment: Callable[..., Awaitable[None]] | None = None
        self.bind(*services)

    def bind(self, *services: Registry) -> App:
        """Add services. Errors: RegistrationError (PD0407) for a name that is taken, or something else."""
        for service in services:
            if not isinstance(service, Registry):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise RegistrationError(f"{service!r} is not a service.", "Bind Service, VirtualObject or Workflow.")
            if service.name in self._services:
                raise RegistrationError(
                    f"There are two services named {service.name}.", "Give one of them another name."
                )
            self._services[service.name] = service
            self._policies[service.name] = self.policies
        self._identity = None
        self._deployment = None
        return self

    def include(self, other: App) -> App:
        """Add the services of another app; they keep its policies. Errors: RegistrationError (PD0407)."""
        self.bind(*other.registered())
        self._policies.update(other._policies)
        return self

    async def __call__(self, scope: Mapping[str, Any], receive: object, send: Callable[[Any], Awaitable[None]]) -> None:
        """As an ASGI application an app is a deployment of a Restate server (docs/endpoint.md).

        Errors: those of `perdure.endpoint.deployment`.
        """
        try:
            deployment = self._deployed()
        except PerdureError as error:
            if scope.get("type") != "lifespan":
                raise
            # A server takes an error here for "no lifespan" and goes on; told like this, it stops and says why.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await deployment(scope, receive, send)

    def _deployed(self) -> Callable[..., Awaitable[None]]:
        deployment = self._deployment
        if deployment is None:
            # By name: the author's side knows no assembly, and an app that runs on perdure itself loads none.
            deployment = self._deployment = importlib.import_module("perdure.endpoint").deployment(self)
        return deployment

    @property
    def identity(self) -> str:
        """Digest of the handlers' code, the Python minor and the loop's version: another one may not replay what this wrote."""
        if self._identity is None:
            self._identity = identity_of(
                handler for service in self._services.values() for handler in service.handlers.values()
            )
        return self._identity

    @property
    def codec(self) -> Codec | None:
        """The hook between values and what is stored, if there is one."""
        return self._codec

    def registered(self) -> list[Registry]:
        """The services themselves, for another app to bind."""
        return list(self._services.values())

    def services(self) -> Sequence[ServiceSpec]:
        """As engines see them."""
        return [service.spec(self._policies[name]) for name, service in self._services.items()]

    def validate_input(self, handler: HandlerSpec, target: Target, content_type: str | None, body: bytes) -> None:
        """Refuse a body that its handler cannot read. Errors: InputRejected, which names the field."""
        registered = self._handler(target)
        payloads = registered.payloads
        if not payloads.takes_input:
            return
        try:
            data = body if self._codec is None else self._codec.decode(body)
            payloads.input_serde.deserialize(data)
        except Exception as error:
            raise InputRejected(in_words(error)) from error
        if not data and not takes_nothing(payloads.input_serde):
            raise InputRejected("the body is empty, and the handler needs an input")

    def begin(self, driver: Driver, start: AttemptStart) -> Attempt:
        """Make an attempt. Errors: KeyError when there is no such handler."""
        return Attempt(driver, start, self._handler(start.target), self._codec, self._dev_watch())

    def _handler(self, target: Target) -> Handler:
        return self._services[target.service].handlers[target.handler]

    def _dev_watch(self) -> DevWatch | None:
        if self.dev and self._watch is None:
            self._watch = DevWatch()
        return self._watch if self.dev else None


def app(
    services: Iterable[Registry],
    protocol: Literal["bidi", "request_response"] | None = None,
    identity_keys: list[str] | None = None,
    journal_value_codec: JournalValueCodec | JournalValueCodecProvider | None = None,
    *,
    dev: bool | None = None,
    inactivity_timeout: timedelta | None = None,
    abort_timeout: timedelta | None = None,
    journal_retention: timedelta | None = None,
    idempotency_retention: timedelta | None = None,
    workflow_retention: timedelta | None = None,
    enable_lazy_state: bool | None = None,
    ingress_private: bool | None = None,
    invocation_retry_policy: InvocationRetryPolicy | None = None,
) -> App:
    """An app of these services, to be served or embedded. `dev` None: as the variable PERDURE_DEV says.

    The settings below it hold for each handler, unless its service or the handler itself says otherwise.
    """
    return App(
        services,
        protocol=protocol,
        identity_keys=identity_keys,
        journal_value_codec=journal_value_codec,
        dev=dev,
        inactivity_timeout=inactivity_timeout,
        abort_timeout=abort_timeout,
        journal_retention=journal_retention,
        idempotency_retention=idempotency_retention,
        workflow_retention=workflow_retention,
        enable_lazy_state=enable_lazy_state,
        ingress_private=ingress_private,
        invocation_retry_policy=invocation_retry_policy,
    )
