"""Invocation ids as handlers write them."""

from __future__ import annotations

from perdure.model.ids import InvocationId, parse_invocation_id
from perdure.sdk.errors import TerminalError


def raw_invocation_id(text: str) -> InvocationId:
    """Errors: TerminalError 400, because no later attempt could make it an id."""
    try:
        return parse_invocation_id(text)
    except ValueError as error:
        raise TerminalError(f"bad invocation id: {error}", 400) from error
