"""Our handlers served elsewhere: an app as a deployment of a Restate server (docs/endpoint.md).

`Endpoint` and `app` are here too, as in `restate.endpoint`. The extra `restate` is needed once an app is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.sdk.app import App
from perdure.sdk.app import app as app
from perdure.sdk.endpoint import Endpoint as Endpoint
from perdure.sdk.errors import ServiceProtocolNeeded

if TYPE_CHECKING:
    from perdure.endpoint.asgi import Deployment

__all__ = ["Endpoint", "app", "deployment"]


def deployment(app: App) -> Deployment:
    """The ASGI application of an app that a Restate server discovers and invokes.

    Errors: ServiceProtocolNeeded (PD0419) without the extra `restate`; CapabilityError (PD0409) for a handler that needs what
    a Restate server does not have; RegistrationError (PD0407) for an identity key that is none.
    """
    try:
        from perdure.endpoint.asgi import Deployment
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "restate":
            raise
        raise ServiceProtocolNeeded(
            "An app is served to a Restate server by the core of Restate's SDK, which is not installed.",
            "Run `pip install 'perdure[restate]'`; on perdure itself the app runs with `perdure serve MODULE:APP`.",
        ) from error
    return Deployment(app)
