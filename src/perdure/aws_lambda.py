"""An app on AWS Lambda, as in `restate.aws_lambda`: importable, and an error that says so once it is called."""

from __future__ import annotations

import os
from typing import Any

from perdure.sdk.errors import ServiceProtocolNeeded
from perdure.server_types import RestateLambdaHandler, RestateLambdaRequest, RestateLambdaResponse

__all__ = ["is_running_on_lambda", "wrap_asgi_as_lambda_handler"]


def is_running_on_lambda() -> bool:
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def wrap_asgi_as_lambda_handler(asgi_app: Any) -> RestateLambdaHandler:
    """The handler to name in Lambda's settings. Errors of the handler: ServiceProtocolNeeded, always, in this version."""

    def lambda_handler(event: RestateLambdaRequest, _context: Any) -> RestateLambdaResponse:
        raise ServiceProtocolNeeded(
            f"{asgi_app!r} cannot be served on AWS Lambda yet: that needs Restate's service protocol.",
            "Run the app with `perdure serve MODULE:APP` or `perdure.Node(app)` on a machine that stays.",
        )

    return lambda_handler
