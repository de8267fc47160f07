"""The settings of a server as they are given: where a value may come from, and which source wins.

Flags first, then `PERDURE_…` variables, then the `RESTATE_…` ones that mean the same, then `perdure.toml`, then the
default. A value that cannot be is refused with the place it came from. What there is to set stands in `known_settings`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal, cast

from perdure.cli import restate_names
from perdure.cli.known_settings import SETTINGS, Setting
from perdure.cli.restate_names import RestateNames
from perdure.cli.values import Address, Raw
from perdure.http.query.limits import MEMORY_BYTES_MIN, Limits
from perdure.model.errors import PerdureError
from perdure.model.retry import RetryPolicy
from perdure.node.settings import BadSetting, EngineSettings

FILE = "perdure.toml"
FLAGS = {
    "register",
    "data",
    "ingress",
    "ingress_url",
    "admin",
    "pg",
    "partitions",
    "durability",
    "log_level",
    "log_format",
}
"""Settings with a flag of their own; the others are given as `--set NAME=VALUE`."""


class UnknownSetting(PerdureError):
    """A flag or the file names a setting that does not exist."""

    code: ClassVar[str] = "PD0502"


class UnreadableSettings(PerdureError):
    """The settings file is missing where one was named, or is no TOML."""

    code: ClassVar[str] = "PD0503"


@dataclass(frozen=True)
class Value:
    value: object
    source: str


_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """All settings with where each came from."""

    def __init__(self, found: Mapping[str, Value], warnings: list[str]) -> None:
        self.values = dict(found)
        self.warnings = warnings

    def __getitem__(self, name: str) -> object:
        return self.values[name].value

    @property
    def apps(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self["apps"])

    @property
    def register(self) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self["register"])

    @property
    def data(self) -> Path:
        return cast(Path, self["data"])

    @property
    def ingress(self) -> Address:
        return cast(Address, self["ingress"])

    @property
    def admin(self) -> Address:
        return cast(Address, self["admin"])

    @property
    def pg(self) -> Address | None:
        return cast("Address | None", self["pg"])

    @property
    def shutdown_grace_s(self) -> float:
        return cast(int, self["shutdown_grace"]) / 1000

    def queries(self) -> Limits:
        """Errors: BadSetting, with its source."""
        timeout_ms = self._at_least("query_timeout", 1)
        return Limits(
            at_once=self._at_least("queries_max", 1),
            seconds_max=timeout_ms / 1000,
            memory_bytes_max=self._at_least("query_memory", MEMORY_BYTES_MIN),
        )

    def _at_least(self, name: str, least: int) -> int:
        found = self.values[name]
        value = cast(int, found.value)
        if value < least:
            raise BadSetting(name, f"is {value}; it must be at least {least}", found.source)
        return value

    def engine(self) -> EngineSettings:
        """Errors: BadSetting, with its source, when the engine refuses a value."""
        of_engine = {setting.field: self[setting.name] for setting in SETTINGS if setting.field is not None}
        retry = RetryPolicy(
            initial_interval_ms=cast(int, self["retry_initial_interval"]),
            factor=cast(float, self["retry_factor"]),
            max_interval_ms=cast(int, self["retry_max_interval"]),
            max_attempts=cast("int | None", self["retry_max_attempts"]),
            on_max_attempts=cast('Literal["pause", "kill"]', self["retry_on_max_attempts"]),
        )
        try:
            return EngineSettings(data=self.data, default_retry=retry, **of_engine)  # type: ignore[arg-type]
        except BadSetting as refused:
            setting = next(setting for setting in SETTINGS if setting.field == refused.setting)
            raise BadSetting(setting.name, refused.why, self.values[setting.name].source) from None


def load(flags: Mapping[str, Raw], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Merge the sources. `flags` holds what was given on the command line; `file` None: `perdure.toml` where it stands.

    Errors: BadSetting, UnknownSetting, UnreadableSettings.
    """
    from_file, file_name = _read_file(file or Path(environment.get("PERDURE_CONFIG", FILE)), needed=file is not None)
    for name in from_file:
        _known(name, file_name)
    for name in flags:
        _known(name, "--set")
    restate = _restate_names(environment)
    found: dict[str, Value] = {}
    for setting in SETTINGS:
        given = _first_source(setting, flags, environment, restate, from_file, file_name)
        if given is None:
            found[setting.name] = Value(setting.default, "default")
            continue
        raw, source, read = given
        try:
            found[setting.name] = Value(read(raw), source)
        except ValueError as error:
            raise BadSetting(setting.name, f"is {raw!r}, which {error}", source) from None
    settings = Settings(found, _misspelled(environment))
    settings.engine()
    settings.queries()
    return settings


def _first_source(
    setting: Setting,
    flags: Mapping[str, Raw],
    environment: Mapping[str, str],
    restate: RestateNames,
    from_file: Mapping[str, Raw],
    file_name: str,
) -> tuple[Raw, str, Callable[[Raw], object]] | None:
    """What was given, where, and how it is read there; None: nothing was."""
    if setting.name in flags:
        return flags[setting.name], _flag(setting.name), setting.read
    if setting.variable in environment:
        return environment[setting.variable], setting.variable, setting.read
    if setting.restate is not None and (found := restate.find(setting.restate)) is not None:
        return *found, setting.restate_read or setting.read
    if setting.name in from_file:
        return from_file[setting.name], file_name, setting.read
    return None


def _restate_names(environment: Mapping[str, str]) -> RestateNames:
    try:
        return RestateNames(environment, *restate_names.read_file(environment))
    except (OSError, ValueError) as error:
        why = (
            f"{environment[restate_names.FILE_VARIABLE]} (from {restate_names.FILE_VARIABLE}) cannot be read: {error}."
        )
        raise UnreadableSettings(why, "It is a TOML file; see docs/settings.md.") from None


def _flag(name: str) -> str:
    if name == "apps":
        return "MODULE:APP"
    return f"--{name.replace('_', '-')}" if name in FLAGS else "--set"


def _read_file(file: Path, *, needed: bool) -> tuple[dict[str, Raw], str]:
    try:
        return tomllib.loads(file.read_text()), str(file)
    except FileNotFoundError:
        if needed:
            raise UnreadableSettings(f"there is no file {file}.", "Give the path of a settings file.") from None
        return {}, str(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UnreadableSettings(
            f"{file} cannot be read: {error}.", "It is a TOML file; see docs/settings.md."
        ) from None


def _known(name: str, source: str) -> None:
    if name not in _BY_NAME:
        raise UnknownSetting(f"there is no setting '{name}' (from {source}).", f"{_nearest(name)}See docs/settings.md.")


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), _BY_NAME, 1, 0.75)
    return f"Did you mean '{close[0]}'? " if close else ""


def _misspelled(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like a setting with a typing error. Others are left alone: they may belong to someone else."""
    known = {setting.variable for setting in SETTINGS} | {"PERDURE_CONFIG", "PERDURE_ADMIN_URL"}
    return [
        f"{variable} is not a setting and is ignored. {hint.strip()}"
        for variable in sorted(environment)
        if variable.startswith("PERDURE_") and variable not in known
        if (hint := _nearest(variable.removeprefix("PERDURE_")))
    ]


assert {setting.field for setting in SETTINGS if setting.field} | {"data", "default_retry"} == {
    field.name for field in fields(EngineSettings)
}, "every setting of the engine can be set from outside"
