"""The real disk keeps the contract of `Files` that the log and a simulated disk rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perdure.env.files import FileLocked, Files, SystemFiles

FILES: Files = SystemFiles()


def test_write_and_read_at_offsets(tmp_path: Path) -> None:
    file = FILES.open(tmp_path / "f", create=True)
    file.pwritev([b"abc", b"", b"defg"], 3)
    file.datasync()
    file.sync()
    assert (file.size(), file.pread(100, 0), file.pread(2, 4), file.pread(5, 10)) == (10, b"\0\0\0abcdefg", b"bc", b"")
    file.close()
    file.close()
    assert (tmp_path / "f").read_bytes() == b"\0\0\0abcdefg"


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FILES.open(tmp_path / "f", create=True)
    real, calls = os.pwrite, []

    def one_byte(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        return real(descriptor, data[:1], offset)

    monkeypatch.setattr(os, "pwritev", lambda descriptor, buffers, offset: real(descriptor, buffers[0][:2], offset))
    monkeypatch.setattr(os, "pwrite", one_byte)
    file.pwritev([b"abc", b"de"], 1)
    assert (file.pread(10, 0), calls) == (b"\0abcde", [3, 4, 5])
    file.close()


def test_create_wants_a_new_file_and_open_an_old_one(tmp_path: Path) -> None:
    FILES.open(tmp_path / "f", create=True).close()
    with pytest.raises(FileExistsError):
        FILES.open(tmp_path / "f", create=True)
    with pytest.raises(FileNotFoundError):
        FILES.open(tmp_path / "g")
    reader = FILES.open(tmp_path / "f", write=False)
    with pytest.raises(OSError):
        reader.pwritev([b"x"], 0)
    reader.close()


def test_names(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    FILES.make_directory(directory)
    FILES.make_directory(directory)
    for name in ("2", "1"):
        FILES.open(directory / name, create=True).close()
    FILES.rename(directory / "2", directory / "3")
    FILES.rename(directory / "3", directory / "1")
    FILES.sync_directory(directory)
    assert FILES.names(directory) == ["1"]
    FILES.unlink(directory / "1")
    assert FILES.names(directory) == []
    with pytest.raises(FileNotFoundError):
        FILES.names(tmp_path / "nowhere")
    assert FILES.free_bytes(tmp_path) > 0


def test_one_holder_of_a_lock(tmp_path: Path) -> None:
    lock = FILES.lock(tmp_path / "lock")
    with pytest.raises(FileLocked, match=f"locked by process {os.getpid()}"):
        FILES.lock(tmp_path / "lock")
    lock.release()
    lock.release()
    FILES.lock(tmp_path / "lock").release()
