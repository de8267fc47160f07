"""Whether a request's body and content type fit what a handler declares. The body itself is not looked into.

The rules are tried in the order of docs/ingress.md; one that fits is enough, and the last that failed is reported.
"""

from __future__ import annotations

from perdure.http.ingress.refusals import invalid_input
from perdure.model.service import PayloadRules


def check_input(rules: PayloadRules, content_type: str | None, body: bytes) -> None:
    """Errors: RequestRefused."""
    if content_type is None and not body and not rules.required:
        return
    declared = rules.content_type
    if declared is None:
        if content_type is not None or body:
            # To the letter as Restate says it, whose way to write a value that may be missing this is.
            given = "None" if content_type is None else f'Some("{content_type}")'
            raise invalid_input(f"Expected body and content-type to be empty, but wasn't with content-type '{given}'")
        return
    if content_type is None:
        raise invalid_input("Empty content-type")
    if content_type != declared and not matches(declared, content_type):
        raise invalid_input(f"Content-type '{content_type}' does not match '{declared}'")
    if rules.json_schema is not None and not body:
        raise invalid_input("Empty body not allowed")


def matches(declared: str, given: str) -> bool:
    """`given` is of the type (`*/*`, `text/*`, `application/json`) that was declared; parameters play no part.

    Upper case is not the same as lower case, as in Restate.
    """
    if declared == "*/*":
        return True
    declared_type, _, declared_subtype = _essence(declared).partition("/")
    given_type, slash, given_subtype = _essence(given).partition("/")
    if not (slash and given_type and given_subtype):
        return False
    return declared_type in ("*", given_type) and declared_subtype in ("*", given_subtype)


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip()
