"""The admin API as OpenAPI 3.1, from its table of routes: what is described is what is served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from perdure.http.admin.operation import Operation, Query
from perdure.http.admin.replies import ErrorBody
from perdure.model.version import VERSION

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


def admin_openapi(operations: Iterable[Operation]) -> dict[str, object]:
    table = list(operations)
    types = [each for operation in table for each in (operation.body, *operation.replies.values())]
    schemas, components = msgspec.json.schema_components(
        [each for each in types if each is not None and each is not bytes] + [ErrorBody],
        schema_hook=_anything,
        ref_template="#/components/schemas/{name}",
    )
    known = iter(schemas)
    described = {
        id(operation): [next(known) if each is not None and each is not bytes else None for each in _types(operation)]
        for operation in table
    }
    paths: dict[str, dict[str, object]] = {}
    for operation in table:
        body, *replies = described[id(operation)]
        path = _PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, body, replies)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Admin API of perdure", "version": VERSION},
        "paths": paths,
        "components": {"schemas": components},
    }


def _anything(kind: type) -> dict[str, object]:
    if kind is object:
        return {"description": "Any JSON."}
    raise NotImplementedError(f"{kind} has no schema")


def _types(operation: Operation) -> list[object | None]:
    return [operation.body, *operation.replies.values()]


def _operation(operation: Operation, body: object, replies: list[dict[str, object] | None]) -> dict[str, object]:
    described: dict[str, object] = {
        "summary": operation.summary,
        "operationId": _id(operation),
        "responses": {
            **{str(status): _reply(status, schema) for status, schema in zip(operation.replies, replies, strict=True)},
            **{str(status): _error(status) for status in operation.errors},
        },
    }
    parameters = [*map(_in_path, _PARAMETER.findall(operation.path)), *map(_in_query, operation.query)]
    if parameters:
        described["parameters"] = parameters
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    elif operation.body is bytes:
        described["requestBody"] = {"content": {"application/octet-stream": {}}}
    return described


def _id(operation: Operation) -> str:
    words = re.findall(r"\w+", _PARAMETER.sub(r"\1", operation.path))
    return "_".join([operation.method.lower(), *words])


def _in_path(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(query: Query) -> dict[str, object]:
    return {"name": query.name, "in": "query", "required": False, "description": query.meaning, "schema": query.schema}


def _reply(status: int, schema: dict[str, object] | None) -> dict[str, object]:
    reply: dict[str, object] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        reply["content"] = {"application/json": {"schema": schema}}
    return reply


def _error(status: int) -> dict[str, object]:
    return {
        "description": "Refused" if status == 425 else HTTPStatus(status).phrase,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
