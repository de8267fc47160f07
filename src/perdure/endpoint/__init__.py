"""Handlers served elsewhere, as a deployment (to come); now `Endpoint` and `app`, as in `restate.endpoint`."""

from perdure.sdk.app import app as app
from perdure.sdk.endpoint import Endpoint as Endpoint

__all__ = ["Endpoint", "app"]
