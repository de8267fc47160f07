"""Settings by the names that Restate's server has for them: `RESTATE_…` variables, and the file that `RESTATE_CONFIG` names.

Its file has the same names in another spelling: `RESTATE_WORKER__CLEANUP_INTERVAL` is `cleanup-interval` of `[worker]`. What
is not a setting of perdure is passed over in both: existing files and manifests carry much that has no meaning here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from perdure.cli import values
from perdure.cli.values import Raw

FILE_VARIABLE = "RESTATE_CONFIG"
ADDRESSES: Mapping[str, tuple[str, int]] = {
    "RESTATE_INGRESS__BIND_ADDRESS": ("RESTATE_INGRESS__", 8080),
    "RESTATE_ADMIN__BIND_ADDRESS": ("RESTATE_ADMIN__", 9070),
}
"""Addresses may be given in two parts as well: BIND_IP and BIND_PORT, of which each has a default."""
_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "error": "error", "off": "error"}


class RestateNames:
    """What they give. `file` is what the file holds; an error of reading it is its reader's business."""

    def __init__(self, environment: Mapping[str, str], file: Mapping[str, object], file_name: str) -> None:
        self._environment = environment
        self._file = file
        self._file_name = file_name

    def find(self, variable: str) -> tuple[Raw, str] | None:
        """The value, and the variable or file that gave it."""
        found = self._one(variable)
        if found is not None or variable not in ADDRESSES:
            return found
        prefix, port = ADDRESSES[variable]
        given_port = self._one(f"{prefix}BIND_PORT")
        given_ip = self._one(f"{prefix}BIND_IP") or self._one("RESTATE_BIND_IP")
        if given_ip is None and given_port is None:
            return None
        host = "127.0.0.1" if given_ip is None else str(given_ip[0])
        host = f"[{host}]" if ":" in host else host
        source = given_port or given_ip
        assert source is not None
        return f"{host}:{port if given_port is None else given_port[0]}", source[1]

    def _one(self, variable: str) -> tuple[Raw, str] | None:
        if variable in self._environment:
            return self._environment[variable], variable
        part: object = self._file
        for name in variable.removeprefix("RESTATE_").split("__"):
            part = part.get(name.lower().replace("_", "-")) if isinstance(part, Mapping) else None
        return None if part is None else (part, self._file_name)


def read_file(environment: Mapping[str, str]) -> tuple[dict[str, object], str]:
    """What the file holds that the variable names, and its name. Errors: OSError, ValueError, with the reason."""
    name = environment.get(FILE_VARIABLE)
    if name is None:
        return {}, ""
    return tomllib.loads(Path(name).read_text()), name


def log_level(raw: Raw) -> str:
    """`warn,restate=info` as one level: that of Restate's own parts, or the one for everything."""
    level: str | None = None
    for directive in str(raw).split(","):
        target, equals, name = directive.strip().rpartition("=")
        found = _LEVELS.get(name.strip().lower())
        if found is None:
            raise ValueError("is no log filter; write levels, such as 'info' or 'warn,restate=debug'")
        if not equals or re.match(r"(restate|perdure)\b", target):
            level = found
    return level or "info"


def log_format(raw: Raw) -> str:
    """`pretty` and `compact` are text."""
    return {"pretty": "text", "compact": "text"}.get(str(raw).strip().lower()) or values.one_of("text", "json")(raw)
