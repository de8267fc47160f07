"""Where a setting's value comes from, which source wins, and what is said of a value that cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perdure.cli.known_settings import SETTINGS
from perdure.cli.settings import Settings, UnknownSetting, UnreadableSettings, load
from perdure.cli.values import Address
from perdure.model.retry import RetryPolicy
from perdure.node.settings import BadSetting, EngineSettings

ROOT = Path(__file__).parents[2]


def from_file(tmp_path: Path, text: str, **flags: object) -> Settings:
    file = tmp_path / "perdure.toml"
    file.write_text(text)
    return load(flags, {}, file)


def test_without_sources_the_engine_gets_its_own_defaults() -> None:
    settings = load({}, {})
    assert settings.engine() == EngineSettings(data=Path("perdure-data"))
    assert settings.ingress == Address("127.0.0.1", 8080)
    assert settings.admin == Address("127.0.0.1", 9070)
    assert {value.source for value in settings.values.values()} == {"default"}


def test_flags_win_over_perdure_variables_over_restate_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "perdure.toml"
    file.write_text("partitions = 1\n")
    flags: dict[str, object] = {"partitions": "4"}
    environment = {"PERDURE_PARTITIONS": "3", "RESTATE_DEFAULT_NUM_PARTITIONS": "2"}

    def seen() -> tuple[object, str]:
        value = load(flags, environment, file).values["partitions"]
        return value.value, value.source

    assert seen() == (4, "--partitions")
    flags.clear()
    assert seen() == (3, "PERDURE_PARTITIONS")
    del environment["PERDURE_PARTITIONS"]
    assert seen() == (2, "RESTATE_DEFAULT_NUM_PARTITIONS")
    environment.clear()
    assert seen() == (1, str(file))


def test_the_file_is_named_by_a_variable_or_found_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perdure.toml").write_text('data = "here"\n')
    (tmp_path / "other.toml").write_text('data = "there"\n')
    monkeypatch.chdir(tmp_path)
    assert load({}, {}).data == Path("here")
    assert load({}, {"PERDURE_CONFIG": "other.toml"}).data == Path("there")


def test_the_file_gives_lists_numbers_and_truth_values(tmp_path: Path) -> None:
    settings = from_file(tmp_path, 'apps = ["a:app", "b:app"]\npartitions = 2\ndev = true\nretry_factor = 1.5\n')
    engine = settings.engine()
    assert settings.apps == ("a:app", "b:app")
    assert (engine.partitions, engine.dev, engine.default_retry.factor) == (2, True, 1.5)


def test_our_own_file_is_read_in_our_own_words(tmp_path: Path) -> None:
    """And not as Restate writes the same setting, though it has a name there."""
    assert from_file(tmp_path, 'log_level = "warning"\n')["log_level"] == "warning"
    with pytest.raises(BadSetting, match="'debug' or 'info'"):
        from_file(tmp_path, 'log_level = "warn,restate=debug"\n')
    with pytest.raises(BadSetting, match="'text' or 'json'"):
        from_file(tmp_path, 'log_format = "pretty"\n')


def test_the_address_of_the_ingress_comes_from_a_flag_a_variable_or_the_file(tmp_path: Path) -> None:
    assert load({}, {}).engine().ingress_url is None
    assert load({"ingress_url": "https://a.example/"}, {}).engine().ingress_url == "https://a.example"
    assert load({}, {"PERDURE_INGRESS_URL": "http://b.example"}).engine().ingress_url == "http://b.example"
    assert from_file(tmp_path, 'ingress_url = "https://c.example/x"\n').engine().ingress_url == "https://c.example/x"
    with pytest.raises(
        BadSetting, match=r"'ingress_url' \(from --ingress-url\) is 'a.example'; it must begin with http"
    ):
        load({"ingress_url": "a.example"}, {})


def test_the_retry_policy_is_put_together_from_its_settings() -> None:
    environment = {
        "RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL": "50ms",
        "PERDURE_RETRY_MAX_ATTEMPTS": "unlimited",
        "PERDURE_RETRY_ON_MAX_ATTEMPTS": "kill",
    }
    expected = RetryPolicy(initial_interval_ms=50, max_attempts=None, on_max_attempts="kill")
    assert load({}, environment).engine().default_retry == expected


@pytest.mark.parametrize(
    ("flags", "environment", "said"),
    [
        ({"partitions": "many"}, {}, "'partitions' (from --partitions) is 'many', which is no whole number"),
        ({}, {"PERDURE_PARTITIONS": "0"}, "'partitions' (from PERDURE_PARTITIONS) is 0; it must be at least 1"),
        ({"abort_timeout": "10"}, {}, "'abort_timeout' (from --set) is '10', which is no duration"),
        ({}, {"RESTATE_INGRESS__BIND_ADDRESS": "nowhere"}, "(from RESTATE_INGRESS__BIND_ADDRESS) is 'nowhere'"),
        ({"durability": "maybe"}, {}, "which is not 'fsync' or 'os'"),
        ({"segment_bytes": "1KiB"}, {}, "'segment_bytes' (from --set) is 1024; it must be at least 1048576"),
    ],
)
def test_a_refused_value_is_shown_with_its_source(
    flags: dict[str, object], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(BadSetting, match=re.escape(said)):
        load(flags, environment)


def test_a_value_in_the_file_is_refused_with_the_file_s_name(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"from .*perdure\.toml\) is True, which is no whole number"):
        from_file(tmp_path, "partitions = true\n")


def test_an_unknown_setting_is_refused_and_the_nearest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting, match=r"no setting 'partition'.*Did you mean 'partitions'"):
        from_file(tmp_path, "partition = 2\n")
    with pytest.raises(UnknownSetting, match="no setting 'sparkle'"):
        load({"sparkle": "1"}, {})


def test_a_file_that_is_no_toml_or_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSettings, match="line 1"):
        from_file(tmp_path, "data = here\n")
    with pytest.raises(UnreadableSettings, match="there is no file"):
        load({}, {}, tmp_path / "missing.toml")


def test_a_variable_with_a_typing_error_is_mentioned_and_others_are_left_alone() -> None:
    environment = {"PERDURE_PARTITION": "2", "PERDURE_SERVICE_HOST": "10.0.0.1", "PERDURE_PORT": "tcp://10.0.0.1:80"}
    assert load({}, environment).warnings == [
        "PERDURE_PARTITION is not a setting and is ignored. Did you mean 'partitions'?"
    ]


def test_the_page_lists_every_setting_with_its_variables_and_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows.keys() == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        default, restate, text = rows[setting.name].split(" | ")
        assert default == f"`{setting.show(setting.default)}`"
        assert restate == (f"`{setting.restate}`" if setting.restate else "")
        assert text == setting.help
