"""Operators and paths that look into JSON become calls of functions that there are; nothing else of a query changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.http.query.worker.json_syntax import rewritten


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        ("json_get_str(j, 'a')", "json_get_str(j, 'a')"),
        ("JSON_GET_INT(t.j, 'a', 'b', 0)", "json_get_int(json_get_json(json_get_json(t.j, 'a'), 'b'), 0)"),
        ("json_length( j , 'a' )", "json_length(json_get_json(j, 'a'))"),
        ("json_get_str(json_get(j, 'a'), 'b')", "json_get_str(json_get_json(j, 'a'), 'b')"),
        ("json_get_str(j -> 'a', 'b')", "json_get_str(json_get_json(j, 'a'), 'b')"),
        ("f(j ->> 'a', g(1, ')'))", "f(json_as_text(j, 'a'), g(1, ')'))"),
        ("1 + (j->'n')::int", "1 + (json_get(j, 'n'))::int"),
        ("j ->> 'a' = 'b' and j ? 'c'", "json_as_text(j, 'a') = 'b' and json_contains(j, 'c')"),
        ("not(j)->>'a' is null", "not json_as_text((j), 'a') is null".replace("not ", "not")),
        ("s.t.\"a b\"[1] -> 'x' ->> -1", "json_as_text(json_get_json(s.t.\"a b\"[1], 'x'), -1)"),
        ("'{\"it''s\": 1}'::text ->> 'it''s'::text", "json_as_text('{\"it''s\": 1}'::text, 'it''s'::text)"),
        (
            "j->(case when x then 'a' end)->>lower('B')",
            "json_as_text(json_get_json(j, (case when x then 'a' end)), lower('B'))",
        ),
        ("x in('a') or y -> 'b' is null", "x in('a') or json_get(y, 'b') is null"),
        ("(select j ->> 'a' as b from t)", "(select json_as_text(j, 'a') as b from t)"),
        (
            "'->' || \"->\" /* j->1 */ || 'json_get_str(a, 1, 2)'",
            "'->' || \"->\" /* j->1 */ || 'json_get_str(a, 1, 2)'",
        ),
        ("$1 ? x", "$1 ? x"),
        ("-> 'a'", "-> 'a'"),
        ("f(j ->> 'a'", "f(json_as_text(j, 'a')"),
        ("j ->> 'a')", "json_as_text(j, 'a'))"),
    ],
)
def test_one_expression(written: str, planned: str) -> None:
    assert rewritten(f"select 1 where {written}") == f"select 1 where {planned}"


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        ("select j->>'a', b from t", "select json_as_text(j, 'a') AS \"j ->> 'a'\", b from t"),
        (
            "select distinct t.j -> 'a'->>0\n",
            "select distinct json_as_text(json_get_json(t.j, 'a'), 0) AS \"j -> 'a' ->> 0\"\n",
        ),
        (
            "select j->>'a' named, f(j)->>'a', lower(j->>'a')",
            "select json_as_text(j, 'a') named, json_as_text(f(j), 'a'), lower(json_as_text(j, 'a'))",
        ),
        ("(select j ? 'a') union select 1", "(select json_contains(j, 'a') AS \"j ? 'a'\") union select 1"),
        (
            "select json_get_str(j, 'a', 'b') from t group by j ->> 'a'",
            "select json_get_str(json_get_json(j, 'a'), 'b') from t group by json_as_text(j, 'a')",
        ),
    ],
)
def test_a_column_keeps_the_name_that_it_would_have(written: str, planned: str) -> None:
    assert rewritten(written) == planned


@given(st.text(alphabet="ab1'\"(),.;:$-/*[] \n", max_size=40))
def test_what_looks_into_no_json_stays(text: str) -> None:
    if "->" not in text:
        assert rewritten(f"{text} json_") == f"{text} json_"
