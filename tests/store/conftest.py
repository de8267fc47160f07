"""A store in a file, and the threads it writes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.env.executor import ThreadExecutor
from perdure.store.store import Store

from .faulty_disk import FaultyDisk


@pytest.fixture
def executor() -> Iterator[ThreadExecutor]:
    threads = ThreadExecutor()
    yield threads
    threads.shutdown(wait=True)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.sqlite")


@pytest.fixture
def store(path: str, executor: ThreadExecutor) -> Iterator[Store]:
    opened = Store.open(path, 1, executor=executor)
    yield opened
    opened.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultyDisk]:
    disk = FaultyDisk(f"faulty-{tmp_path}")
    yield disk
    disk.unregister()
