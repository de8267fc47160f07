"""The commands as a person meets them, without a server: version, help, config, refusals."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from perdure.cli.commands import perdure


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perdure", *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_version(tmp_path: Path) -> None:
    result = run("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"perdure {version('perdure')}\n")


def test_version_loads_no_room_of_the_engine(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['--version']; from perdure.cli import main; main(); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'perdure.cli'" in loaded
    assert [
        name for name in ("asyncio", "click", "msgspec", "perdure.node", "perdure.sdk") if f"'{name}'" in loaded
    ] == []


@pytest.mark.parametrize("group", ["invocations", "deployments", "state", "log"])
def test_what_a_command_does_fits_on_its_line_of_the_help(group: str) -> None:
    text = CliRunner().invoke(perdure, [group, "--help"], terminal_width=80).output
    cut = [line for line in text.partition("Commands:")[2].splitlines() if line.endswith("...")]
    assert "Commands:" in text and cut == []


def test_a_port_for_sql_is_refused_without_the_extra(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['datafusion'] = None; from perdure.cli import main; main()"
    command = [sys.executable, "-c", hide, "serve", "--data", "data", "--pg", "127.0.0.1:0"]
    command += ["--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert "PD0530" in done.stderr and "perdure[sql]" in done.stderr
    assert not (tmp_path / "data").exists()


def test_help_names_every_command(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path).stdout
    assert all(f"\n  {command}" in text for command in ("serve", "dev", "log", "config"))


def test_config_prints_values_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text('abort_timeout = "5m"\n')
    result = run("config", "shop:app", "--partitions", "2", cwd=tmp_path, PERDURE_DATA="/srv/shop")
    rows = {name: rest for name, *rest in (line.split() for line in result.stdout.splitlines())}
    assert result.returncode == 0
    assert rows["partitions"] == ["2", "--partitions"]
    assert rows["data"] == ["/srv/shop", "PERDURE_DATA"]
    assert rows["abort_timeout"] == ["5m", "perdure.toml"]
    assert rows["durability"] == ["fsync", "default"]
    assert rows["apps"] == ["shop:app", "MODULE:APP"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("config", "--partitions", "0"), 1, "perdure: PD0501: the setting 'partitions' (from --partitions) is 0"),
        (("config", "--set", "speed=11"), 1, "perdure: PD0502: there is no setting 'speed'"),
        (("config", "--config", "gone.toml"), 1, "perdure: PD0503: there is no file gone.toml"),
        (("config", "--set", "speed"), 2, "'speed' is not NAME=VALUE"),
        (("fly",), 2, "No such command 'fly'"),
    ],
)
def test_a_refusal_is_one_line_with_a_code(arguments: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
