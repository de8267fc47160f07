"""`Endpoint`: the builder of an app, as in Restate's SDK; `perdure.app(...)` says the same in one call."""

from __future__ import annotations

from typing import Literal, Self

from perdure.sdk.app import App
from perdure.sdk.codec import JournalValueCodec, JournalValueCodecProvider
from perdure.sdk.service import Registry


class Endpoint:
    """Services to be served together."""

    def __init__(self) -> None:
        self.services: dict[str, Registry] = {}
        self.protocol: Literal["bidi", "request_response"] | None = None
        self.identity_keys: list[str] = []
        self.journal_value_codec: JournalValueCodec | JournalValueCodecProvider | None = None

    def bind(self, *services: Registry) -> Self:
        """Add services. Errors: RegistrationError (a ValueError) for a name that is taken, or something else."""
        bound = App([*self.services.values(), *services]).registered()
        self.services = {service.name: service for service in bound}
        return self

    def streaming_protocol(self) -> Self:
        self.protocol = "bidi"
        return self

    def request_response_protocol(self) -> Self:
        self.protocol = "request_response"
        return self

    def identity_key(self, identity_key: str) -> Self:
        self.identity_keys.append(identity_key)
        return self

    def set_journal_value_codec(self, codec_or_provider: JournalValueCodec | JournalValueCodecProvider) -> Self:
        self.journal_value_codec = codec_or_provider
        return self

    def app(self) -> App:
        """The app of these services."""
        return App(
            self.services.values(),
            protocol=self.protocol,
            identity_keys=self.identity_keys,
            journal_value_codec=self.journal_value_codec,
        )
