"""The admin API of a running server, as the command line asks it: over HTTP, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import click

from perdure.model.errors import PerdureError

DEFAULT_URL = "http://127.0.0.1:9070"
PAGE = 500
TIMEOUT_S = 30.0
F = TypeVar("F", bound=Callable[..., object])


class ServerUnreachable(PerdureError):
    """Nobody answers at the admin address, or not as perdure does."""

    code: ClassVar[str] = "PD0520"


class RequestFailed(PerdureError):
    """The server refused what was asked; `status` is that of its answer."""

    code: ClassVar[str] = "PD0521"

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


def admin_flags(command: F) -> F:
    """`--admin-url` and `--json`, which every command has that asks a server."""
    command = click.option("--json", "as_json", is_flag=True, help="JSON for machines instead of tables for people.")(
        command
    )
    return click.option(
        "--admin-url",
        metavar="URL",
        envvar=["PERDURE_ADMIN_URL", "RESTATE_ADMIN_URL"],
        default=DEFAULT_URL,
        help=f"Admin address of the server [PERDURE_ADMIN_URL, RESTATE_ADMIN_URL, {DEFAULT_URL}].",
    )(command)


class Admin:
    """One server. Errors of every method: ServerUnreachable, RequestFailed."""

    def __init__(self, url: str) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        _, body = self.request("GET", path, query)
        try:
            return json.loads(body)
        except ValueError:
            raise self._unreachable(ValueError("what answers is no admin API of perdure")) from None

    def request(
        self, method: str, path: str, query: Mapping[str, object] | None = None, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body of an answer that is no error."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = self.url + path + (f"?{urllib.parse.urlencode(given, doseq=True)}" if given else "")
        try:
            asked = urllib.request.Request(url, body, {"content-type": "application/json"}, method=method)
            with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            raise RequestFailed(refused.code, _message(refused.code, refused.read())) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        why = getattr(error, "reason", None) or error
        return ServerUnreachable(
            f"no perdure server answers at {self.url} ({why}).",
            "Start one with `perdure serve`, or name the admin address of yours with --admin-url or PERDURE_ADMIN_URL.",
        )

    def invocations(self, filters: Mapping[str, object], limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Those that match, newest first; None: all of them."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            wanted = PAGE if left is None else min(left, PAGE)
            page = self.get("/perdure/invocations", {**filters, "limit": wanted, "after": after})
            yield from page["invocations"]
            left = None if left is None else left - len(page["invocations"])
            after = page["after"]
            if after is None:
                return


def quoted(part: str) -> str:
    """A part of a path."""
    return urllib.parse.quote(part, safe="")


def _message(status: int, body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("message"), str):
        return str(answer["message"])
    return body.decode(errors="replace").strip() or f"the server answered {status}"
