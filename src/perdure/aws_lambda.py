"""An app on AWS Lambda, as in `restate.aws_lambda`."""

from __future__ import annotations

from typing import Any

from perdure.endpoint.aws_lambda import LambdaFunction
from perdure.endpoint.aws_lambda import is_running_on_lambda as is_running_on_lambda
from perdure.server_types import RestateLambdaHandler

__all__ = ["is_running_on_lambda", "wrap_asgi_as_lambda_handler"]


def wrap_asgi_as_lambda_handler(asgi_app: Any) -> RestateLambdaHandler:
    """The handler to name in Lambda's settings (docs/endpoint.md)."""
    return LambdaFunction(asgi_app)  # type: ignore[return-value]
