"""The data directory: one process, a fixed number of partitions, an identity that is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

import perdure
from perdure.log.errors import StoreAheadOfLog
from perdure.model.errors import PerdureError
from perdure.node.data_directory import DataDirectoryError, DataDirectoryLocked, WrongPartitions
from perdure.node.errors import NodeStopped
from perdure.node.phase import Phase

from .rig import abandon, call, image, make_engine, running
from .virtual import in_virtual_time

echo = perdure.Service("Echo")


@echo.handler()
async def say(ctx: perdure.Context, what: str) -> str:
    return what


@in_virtual_time
async def test_the_number_of_partitions_is_fixed(tmp_path: Path) -> None:
    async with running([echo], tmp_path, partitions=3):
        pass
    with pytest.raises(WrongPartitions, match=r"PD0212: .* was made with 3 partition"):
        await make_engine([echo], tmp_path, partitions=2).start()
    async with running([echo], tmp_path) as engine:
        assert engine.partitions == 3


@in_virtual_time
async def test_two_engines_do_not_share_a_directory(tmp_path: Path) -> None:
    async with running([echo], tmp_path) as engine:
        with pytest.raises(DataDirectoryLocked, match=r"PD0211: .* is in use by process"):
            await make_engine([echo], tmp_path).start()
        assert await call(engine, "Echo/say", "still here") == "still here"
    async with running([echo], tmp_path):
        pass


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": "1", "partitions": 1}'])
@in_virtual_time
async def test_a_damaged_identity_is_refused_and_the_directory_is_let_go(damage: bytes, tmp_path: Path) -> None:
    async with running([echo], tmp_path):
        pass
    identity = tmp_path / "perdure.json"
    good = identity.read_bytes()
    identity.write_bytes(damage)
    with pytest.raises(DataDirectoryError, match=r"perdure\.json is not readable"):
        await make_engine([echo], tmp_path).start()
    identity.write_bytes(good)
    async with running([echo], tmp_path):
        pass


@in_virtual_time
async def test_a_log_without_its_identity_is_refused(tmp_path: Path) -> None:
    async with running([echo], tmp_path):
        pass
    (tmp_path / "perdure.json").unlink()
    with pytest.raises(DataDirectoryError, match=r"holds a log but no perdure\.json"):
        await make_engine([echo], tmp_path).start()


@in_virtual_time
async def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("perdure.json").write_bytes(b'{"format": 2, "partitions": 1}')
    with pytest.raises(DataDirectoryError, match="has format 2; this version of perdure reads format 1"):
        await make_engine([echo], tmp_path).start()


@in_virtual_time
async def test_a_crash_while_the_identity_was_written_is_no_damage(tmp_path: Path) -> None:
    tmp_path.joinpath("perdure.json.new").write_bytes(b'{"form')
    async with running([echo], tmp_path) as engine:
        assert await call(engine, "Echo/say", "hello") == "hello"


@in_virtual_time
async def test_a_store_that_is_ahead_of_its_log_is_refused(tmp_path: Path) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    async with running([echo], late) as engine:
        await call(engine, "Echo/say", "one")
    image(late, early)
    async with running([echo], late) as engine:
        await call(engine, "Echo/say", "more")
    for old in early.glob("store.sqlite*"):
        old.unlink()
    for new in late.glob("store.sqlite*"):
        (early / new.name).write_bytes(new.read_bytes())
    with pytest.raises(StoreAheadOfLog, match="PD0103"):
        await make_engine([echo], early).start()


@in_virtual_time
async def test_after_a_start_that_failed_the_same_process_can_try_again(tmp_path: Path) -> None:
    async with running([echo], tmp_path, partitions=2):
        pass
    failed = make_engine([echo], tmp_path, partitions=5)
    with pytest.raises(PerdureError):
        await failed.start()
    assert failed.phase is Phase.FAILED
    with pytest.raises(NodeStopped):
        await call(failed, "Echo/say", "anybody?")
    async with running([echo], tmp_path) as engine:
        assert await call(engine, "Echo/say", "hello") == "hello"


@in_virtual_time
async def test_an_engine_that_failed_lets_go_of_its_directory_when_it_is_stopped(tmp_path: Path) -> None:
    engine = make_engine([echo], tmp_path)
    await engine.start()
    await abandon(engine)
    assert engine.phase is Phase.FAILED
    async with running([echo], tmp_path) as engine:
        assert await call(engine, "Echo/say", "hello") == "hello"
