from __future__ import annotations

import pytest

from perdure.http.ingress.input_rules import check_input, matches
from perdure.http.ingress.refusals import RequestRefused
from perdure.model.service import PayloadRules

JSON = PayloadRules(content_type="application/json", required=True)
OPTIONAL_JSON = PayloadRules(content_type="application/json")
SCHEMA = PayloadRules(content_type="application/json", required=True, json_schema={"type": "string"})
ANYTHING = PayloadRules()
NOTHING = PayloadRules(content_type=None)


@pytest.mark.parametrize(
    ("rules", "content_type", "body"),
    [
        (JSON, "application/json", b"1"),
        (JSON, "application/json", b""),
        (JSON, "application/json; charset=utf-8", b"1"),
        (JSON, "application/json", b"not json: nobody looks here"),
        (OPTIONAL_JSON, None, b""),
        (SCHEMA, "application/json", b"1"),
        (ANYTHING, "text/plain", b"x"),
        (ANYTHING, None, b""),
        (NOTHING, None, b""),
    ],
)
def test_accepted(rules: PayloadRules, content_type: str | None, body: bytes) -> None:
    check_input(rules, content_type, body)


@pytest.mark.parametrize(
    ("rules", "content_type", "body", "why"),
    [
        (JSON, None, b"", "Empty content-type"),
        (JSON, None, b"1", "Empty content-type"),
        (OPTIONAL_JSON, None, b"1", "Empty content-type"),
        (JSON, "text/plain", b"1", "Content-type 'text/plain' does not match 'application/json'"),
        (JSON, "APPLICATION/JSON", b"1", "Content-type 'APPLICATION/JSON' does not match 'application/json'"),
        (JSON, "", b"1", "Content-type '' does not match 'application/json'"),
        (SCHEMA, "application/json", b"", "Empty body not allowed"),
        (NOTHING, None, b"x", "Expected body and content-type to be empty, but wasn't with content-type 'None'"),
        (
            NOTHING,
            "a/b",
            b"",
            "Expected body and content-type to be empty, but wasn't with content-type 'Some(\"a/b\")'",
        ),
    ],
)
def test_refused(rules: PayloadRules, content_type: str | None, body: bytes, why: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_input(rules, content_type, body)
    assert (refused.value.status, refused.value.message) == (400, f"input validation error: {why}")


@pytest.mark.parametrize(
    ("declared", "given", "fits"),
    [
        ("*/*", "a/b", True),
        ("text/*", "text/html;x=y", True),
        ("text/*", "image/png", False),
        ("application/json", "application/json5", False),
        ("*/*", "nonsense", True),
        ("*/*", "", True),
        ("text/*", "text", False),
        ("text/*", "/", False),
    ],
)
def test_types_match_part_by_part(declared: str, given: str, fits: bool) -> None:
    assert matches(declared, given) is fits
