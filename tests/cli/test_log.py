"""`perdure log verify` and `perdure log dump` on a data directory that a node has written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import perdure

greeter = perdure.Service("Greeter")


@greeter.handler()
async def greet(ctx: perdure.Context, name: str) -> str:
    return f"Hello {name}"


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with perdure.Node([greeter], data=tmp_path / "data") as node:
        await node.client.service_call(greet, "Ann")
    return tmp_path / "data"


def log(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "log", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_verify_says_what_is_there_and_that_it_is_whole(data: Path) -> None:
    result = log("verify", data)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "closed in order"
    assert log("verify", data / "log").stdout == result.stdout
    assert log("verify", cwd=data.parent).returncode == 2
    (data.parent / "perdure.toml").write_text('data = "data"\n')
    assert log("verify", cwd=data.parent).stdout == result.stdout


@pytest.mark.slow
def test_verify_ends_with_1_and_the_place_when_a_byte_is_wrong(data: Path) -> None:
    (segment,) = (data / "log").glob("*.log")
    with segment.open("r+b") as file:
        file.seek(150)
        byte = file.read(1)[0]
        file.seek(150)
        file.write(bytes([byte ^ 1]))
    result = log("verify", data)
    assert result.returncode == 1
    assert "REFUSED: PD0101" in result.stdout
    assert segment.name in result.stdout


def test_dump_prints_records_for_people_and_for_programs(data: Path) -> None:
    text = log("dump", data)
    assert text.returncode == 0
    assert "Greeter/greet" in text.stdout
    records = [json.loads(line) for line in log("dump", data, "--json").stdout.splitlines()]
    assert [record["type"] for record in records] == ["Lead", "Invoke", "Progress"]
    assert [record["lsn"] for record in records] == [1, 2, 3]
    later = [json.loads(line) for line in log("dump", data, "--json", "--from", "3").stdout.splitlines()]
    assert later == records[2:]


@pytest.mark.slow
def test_dump_into_a_closed_pipe_is_silent(data: Path) -> None:
    command = f"{sys.executable} -m perdure log dump {data} | true"
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""


@pytest.mark.slow
def test_a_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    result = log("dump", tmp_path / "gone")
    assert result.returncode == 2
    assert "there is no directory" in result.stderr
