import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from daezoo.files import check_output, write_atomically, write_text


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_writes_a_new_file_with_its_folder_and_replaces_an_old_one(target):
    write_atomically(target, lambda file: file.write(b"old, and longer"))
    assert target.read_bytes() == b"old, and longer"

    def write(file):
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old, and longer"

    write_atomically(target, write)
    assert target.read_bytes() == b"new"
    assert names(target) == ["file.bin"]


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")],
    ids=["bug", "interrupt", "disk full"],
)
def test_an_error_in_the_middle_of_writing_leaves_the_old_file_or_none(target, existed, error):
    if existed:
        write_atomically(target, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half of the n")
        raise error

    with pytest.raises(type(error)) as raised:
        write_atomically(target, fail)
    assert raised.value is error
    assert names(target) == (["file.bin"] if existed else [])
    assert not existed or target.read_bytes() == b"old"


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_error_of_the_disk_after_writing_leaves_the_old_file(target, function, monkeypatch):
    write_atomically(target, lambda file: file.write(b"old"))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, lambda file: file.write(b"new"))
    assert target.read_bytes() == b"old"
    assert names(target) == ["file.bin"]


def test_the_contents_reach_the_disk_before_the_name_does(target, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_atomically(target, lambda file: file.write(b"new"))
    assert calls == ["fsync", "replace", "fsync"]


def test_the_next_write_clears_what_killed_writes_of_the_same_file_left_behind(target):
    target.parent.mkdir()
    for name in (".file.bin.123.tmp", ".file.bin.99999.tmp", ".other.bin.123.tmp", "file.bin.tmp"):
        (target.parent / name).write_bytes(b"left behind")
    write_atomically(target, lambda file: file.write(b"new"))
    assert names(target) == [".other.bin.123.tmp", "file.bin", "file.bin.tmp"]


def test_text_is_written_in_utf_8(target):
    write_text(target, "σ = 0.5, x̃\n")
    assert target.read_bytes() == "σ = 0.5, x̃\n".encode()
    assert names(target) == ["file.bin"]


def test_orphans_are_cleared_for_names_with_brackets_too(tmp_path):
    (tmp_path / ".a[1].bin.7.tmp").write_bytes(b"left")
    write_atomically(tmp_path / "a[1].bin", lambda file: file.write(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a[1].bin"]


def write_many(path, text, start):
    start.wait()
    for _ in range(200):
        write_text(path, text)


def test_processes_that_write_the_same_file_leave_each_other_alone(tmp_path):
    context = multiprocessing.get_context("fork")
    start = context.Event()
    texts = ["a" * 10_000, "b" * 20_000]
    processes = [context.Process(target=write_many, args=(tmp_path / "it", text, start)) for text in texts]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "it").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_an_output_that_cannot_be_written_is_refused_before_it_is_made(tmp_path):
    (tmp_path / "taken.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    check_output(tmp_path / "new" / "folder" / "free.csv", False, [".csv"])
    check_output(tmp_path / "taken.csv", True, [".csv"])
    for name, force, message in (
        ("taken.csv", False, "exists. Choose another name, or write over it: --force"),
        ("folder.csv", True, "exists. Choose another name"),
        ("taken.csv/below/x.csv", True, "taken.csv is no folder"),
        ("x.txt", True, "must end in .csv or .npy"),
    ):
        with pytest.raises(ValueError, match=message):
            check_output(tmp_path / name, force, [".csv", ".npy"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv", "taken.csv"]
