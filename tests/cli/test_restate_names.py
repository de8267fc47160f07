"""Settings by their names in Restate: every one of them, in the environment and in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.cli import restate_names
from perdure.cli.known_settings import SETTINGS, Setting
from perdure.cli.settings import UnreadableSettings, load
from perdure.cli.values import Address
from perdure.node.settings import BadSetting

NAMED = [setting for setting in SETTINGS if setting.restate is not None]
VALUES: dict[str, tuple[str, object]] = {
    "data": ("/restate-data", Path("/restate-data")),
    "ingress": ("0.0.0.0:8081", Address("0.0.0.0", 8081)),
    "ingress_url": ("http://gateway:8080/", "http://gateway:8080/"),
    "admin": ("[::]:9071", Address("::", 9071)),
    "query_memory": ("512.0 MiB", 512 * 1024 * 1024),
    "partitions": ("24", 24),
    "shutdown_grace": ("1m", 60_000),
    "log_level": ("warn,restate=debug", "debug"),
    "log_format": ("pretty", "text"),
    "retry_initial_interval": ("50ms", 50),
    "retry_factor": ("1.5", 1.5),
    "retry_max_interval": ("PT30S", 30_000),
    "retry_max_attempts": ("unlimited", None),
    "retry_on_max_attempts": ("kill", "kill"),
    "inactivity_timeout": ("1m 30s", 90_000),
    "abort_timeout": ("5 minutes", 300_000),
    "journal_retention": ("2 days", 172_800_000),
    "idempotency_retention": ("PT1H", 3_600_000),
    "workflow_completion_retention": ("0s", 0),
    "journal_retention_max": ("7d", 604_800_000),
    "idempotency_retention_max": ("1h", 3_600_000),
    "workflow_completion_retention_max": ("1h", 3_600_000),
    "retry_attempts_max": ("10", 10),
    "cleanup_interval": ("1h", 3_600_000),
    "concurrent_attempts_max": ("66049", 66_049),
    "body_bytes_max": ("1 MB", 1_000_000),
    "deployment_connect_timeout": ("3s", 3_000),
    "deployment_ping_interval": ("20s", 20_000),
    "deployment_ping_timeout": ("10s", 10_000),
    "request_identity_private_key_pem_file": ("/keys/private.pem", Path("/keys/private.pem")),
    "service_protocol_v7": ("true", True),
}


@pytest.fixture(params=NAMED, ids=[setting.name for setting in NAMED])
def setting(request: pytest.FixtureRequest) -> Setting:
    named: Setting = request.param
    return named


def name_of(setting: Setting) -> str:
    assert setting.restate is not None
    return setting.restate


def test_a_variable_of_restate_gives_the_value(setting: Setting) -> None:
    written, read = VALUES[setting.name]
    value = load({}, {name_of(setting): written}).values[setting.name]
    assert (value.value, value.source) == (read, name_of(setting))
    assert load({}, {name_of(setting): written, setting.variable: setting_in_own_words(setting)}).values[
        setting.name
    ].source == (setting.variable)


def setting_in_own_words(setting: Setting) -> str:
    written, _ = VALUES[setting.name]
    return {"log_level": "info", "log_format": "json"}.get(setting.name, written)


def test_restate_s_file_gives_the_value(setting: Setting, tmp_path: Path) -> None:
    written, read = VALUES[setting.name]
    *tables, key = name_of(setting).removeprefix("RESTATE_").lower().replace("_", "-").split("--")
    file = tmp_path / "restate.toml"
    header = f"[{'.'.join(tables)}]\n" if tables else ""
    file.write_text(f'roles = ["worker"]\n{header}{key} = "{written}"\n')
    value = load({}, {"RESTATE_CONFIG": str(file)}).values[setting.name]
    assert (value.value, value.source) == (read, str(file))


def test_a_bad_value_is_refused_with_the_name_that_gave_it(setting: Setting) -> None:
    if setting.read in (str, VALUES) or setting.name in ("data", "request_identity_private_key_pem_file"):
        bad = ""
    else:
        bad = "?"
    if setting.name == "ingress_url":
        bad = "gateway"
    with pytest.raises(BadSetting, match=name_of(setting)):
        load({}, {name_of(setting): bad})


def test_names_of_restate_that_mean_nothing_here_are_passed_over() -> None:
    environment = {
        "RESTATE_CLUSTER_NAME": "localcluster",
        "RESTATE_METADATA_CLIENT__ADDRESSES": "[]",
        "RESTATE_WORKER__INVOKER__MEMORY_LIMIT": "1GB",
        "RESTATE_ADMIN_URL": "http://localhost:9070",
    }
    settings = load({}, environment)
    assert settings.warnings == []
    assert {value.source for value in settings.values.values()} == {"default"}


@pytest.mark.parametrize(
    ("environment", "ingress", "admin"),
    [
        ({"RESTATE_INGRESS__BIND_PORT": "8081"}, Address("127.0.0.1", 8081), Address("127.0.0.1", 9070)),
        ({"RESTATE_BIND_IP": "0.0.0.0"}, Address("0.0.0.0", 8080), Address("0.0.0.0", 9070)),
        (
            {"RESTATE_BIND_IP": "0.0.0.0", "RESTATE_ADMIN__BIND_IP": "::1", "RESTATE_ADMIN__BIND_PORT": "0"},
            Address("0.0.0.0", 8080),
            Address("::1", 0),
        ),
        (
            {"RESTATE_INGRESS__BIND_ADDRESS": "1.2.3.4:5", "RESTATE_INGRESS__BIND_PORT": "8081"},
            Address("1.2.3.4", 5),
            Address("127.0.0.1", 9070),
        ),
    ],
)
def test_addresses_may_come_in_parts(environment: dict[str, str], ingress: Address, admin: Address) -> None:
    settings = load({}, environment)
    assert (settings.ingress, settings.admin) == (ingress, admin)


def test_the_environment_wins_over_restate_s_file_and_that_over_our_own(tmp_path: Path) -> None:
    (tmp_path / "restate.toml").write_text("default-num-partitions = 2\n")
    (tmp_path / "perdure.toml").write_text("partitions = 1\n")
    environment = {"RESTATE_CONFIG": str(tmp_path / "restate.toml")}
    assert load({}, environment, tmp_path / "perdure.toml")["partitions"] == 2
    environment["RESTATE_DEFAULT_NUM_PARTITIONS"] = "3"
    assert load({}, environment, tmp_path / "perdure.toml")["partitions"] == 3


@pytest.mark.parametrize("text", [None, "a = here\n"])
def test_a_file_of_restate_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "restate.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UnreadableSettings, match="RESTATE_CONFIG"):
        load({}, {"RESTATE_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("info", "info"),
        ("warn,restate=info", "info"),
        ("restate=trace", "debug"),
        ("warn", "warning"),
        ("error,hyper=debug", "error"),
        ("off", "error"),
        ("debug,restate_worker=trace", "debug"),
    ],
)
def test_log_filters(text: str, level: str) -> None:
    assert restate_names.log_level(text) == level
