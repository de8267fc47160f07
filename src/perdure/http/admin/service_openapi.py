"""The ingress routes of one service as OpenAPI 3.1: calls, sends, and the results of idempotent ones and of workflows.

Generated from what its handlers declare; private handlers are left out, because the ingress does not serve them.
"""

from __future__ import annotations

from urllib.parse import quote

from perdure.model.service import HandlerSpec, PayloadRules, ServiceSpec
from perdure.model.target import HandlerKind, ServiceKind

Json = dict[str, object]
_CALL, _SEND, _ATTACH, _OUTPUT = "Request Response", "Send", "Attach", "Get Output"
"""The tags, by what a route is for."""


def service_openapi(spec: ServiceSpec, revision: int, ingress_url: str | None) -> Json:
    """`revision` is the version of the description; `ingress_url`: where the routes are served, if that is known."""
    info: Json = {"title": spec.name, "version": str(revision)}
    if spec.documentation:
        info["description"] = spec.documentation
    if spec.metadata:
        info["x-restate-extensions"] = spec.metadata
    described = _Description(spec)
    document: Json = {"openapi": "3.1.0", "info": info}
    if ingress_url:
        document["servers"] = [{"url": f"{ingress_url.rstrip('/')}/"}]
    tags = [{"name": name} for name in (_CALL, _SEND, _ATTACH, _OUTPUT)]
    return document | {"paths": described.paths, "components": described.components, "tags": tags}


class _Description:
    def __init__(self, spec: ServiceSpec) -> None:
        self._name = quote(spec.name, safe="")
        self._keyed = spec.kind is not ServiceKind.SERVICE
        self._schemas: Json = {"RestateError": _ERROR}
        self.paths: Json = {}
        for handler in spec.handlers.values():
            if handler.public:
                self._handler(handler)
        parameters = {**_PARAMETERS, "key": _KEY} if self._keyed else _PARAMETERS
        self.components: Json = {"schemas": self._schemas, "responses": _RESPONSES, "parameters": parameters}

    def _handler(self, handler: HandlerSpec) -> None:
        name = quote(handler.name, safe="")
        place = f"{self._name}/{{key}}/{name}" if self._keyed else f"{self._name}/{name}"
        run = handler.kind is HandlerKind.RUN
        result = self._result(handler)
        about: Json = {"summary": handler.name, "description": handler.documentation or f"Handler {handler.name}"}
        sent = about | self._body(handler)
        key = [] if run else [_ref("parameters", "idempotencyKeyHeader")]
        self._add(f"/restate/call/{place}", "post", handler.name, sent | {"tags": [_CALL]}, key, {"200": result})
        delayed = [*key, _ref("parameters", "delay")]
        accepted: Json = {"200": _ref("responses", "Send"), "202": _ref("responses", "Send")}
        sent |= {"tags": [_SEND]}
        self._add(f"/restate/send/{place}", "post", f"{handler.name}Send", sent, delayed, accepted)
        if run:
            of, by = f"/restate/workflow/{self._name}/{{key}}", []
        else:
            of = f"/restate/invocation/{place}/{{idempotencyKey}}"
            by = [_ref("parameters", "idempotencyKeyPath")]
        missing: Json = {"404": _ref("responses", "InvocationNotFoundError")}
        attached = about | {"tags": [_ATTACH], "deprecated": True}
        self._add(f"{of}/attach", "get", f"{handler.name}Attach", attached, by, {"200": result} | missing)
        pending: Json = {"470": _ref("responses", "InvocationNotReadyError")}
        looked = about | {"tags": [_OUTPUT], "deprecated": True}
        self._add(f"{of}/output", "get", f"{handler.name}Output", looked, by, {"200": result} | missing | pending)

    def _add(self, path: str, method: str, name: str, about: Json, parameters: list[Json], responses: Json) -> None:
        given = [_ref("parameters", "key"), *parameters] if self._keyed else parameters
        self.paths[path] = {
            method: {
                "operationId": name,
                **about,
                **({"parameters": given} if given else {}),
                "responses": {**responses, "default": _ref("responses", "GenericError")},
            }
        }

    def _body(self, handler: HandlerSpec) -> Json:
        rules = handler.input
        if rules.content_type is None:
            return {}
        content = {rules.content_type: self._content(f"{handler.name}Request", rules)}
        return {"requestBody": {"required": rules.required, "content": content}}

    def _result(self, handler: HandlerSpec) -> Json:
        rules = handler.output
        if rules.content_type is None:
            return {"description": "Empty"}
        content = {rules.content_type: self._content(f"{handler.name}Response", rules)}
        return {"description": "What the handler returned", "content": content}

    def _content(self, name: str, rules: PayloadRules) -> Json:
        if rules.json_schema is None:
            return {}
        self._schemas[name] = rules.json_schema
        return {"schema": _ref("schemas", name)}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _error(description: str) -> Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref("schemas", "RestateError")}},
    }


_KEY: Json = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}
_PARAMETERS: Json = {
    "idempotencyKeyHeader": {
        "name": "idempotency-key",
        "in": "header",
        "required": False,
        "description": "Requests with the same key are one invocation.",
        "schema": {"type": "string"},
    },
    "idempotencyKeyPath": {
        "name": "idempotencyKey",
        "in": "path",
        "required": True,
        "description": "The key of the request whose result is asked for.",
        "schema": {"type": "string"},
    },
    "delay": {
        "name": "delay",
        "in": "query",
        "required": False,
        "description": "When to start, from now: ISO 8601 (PT10S) or with units (10s, 1h 30m).",
        "example": "10s",
        "schema": {"type": "string"},
    },
}
_ERROR: Json = {
    "title": "RestateError",
    "type": "object",
    "description": "Why there is no result.",
    "properties": {
        "code": {"type": "integer", "description": "The code of the failure."},
        "message": {"type": "string"},
        "source": {
            "type": "string",
            "enum": ["ingress", "invocation"],
            "description": "Whether the request was refused or the handler ended with an error.",
        },
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "stacktrace": {"type": "string"},
    },
    "required": ["message", "source"],
    "additionalProperties": False,
}
_RESPONSES: Json = {
    "GenericError": _error("The request was refused, or the handler ended with an error"),
    "InvocationNotFoundError": _error("There is no such invocation"),
    "InvocationNotReadyError": _error("The invocation has not completed yet"),
    "Send": {
        "description": "The invocation is accepted and durable",
        "content": {
            "application/json": {
                "schema": {
                    "title": "RestateSendResponse",
                    "type": "object",
                    "properties": {
                        "invocationId": {"type": "string"},
                        "status": {"type": "string", "enum": ["Accepted", "PreviouslyAccepted"]},
                        "executionTime": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When it starts, if it is delayed.",
                        },
                    },
                    "required": ["invocationId", "status"],
                    "additionalProperties": False,
                }
            }
        },
    },
}
