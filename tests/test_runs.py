import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from daezoo import runs


def claim_many(parent: Path, count: int) -> list[str]:
    return [runs.claim(parent, None).name for _ in range(count)]


def test_a_run_without_a_name_gets_the_next_integer(tmp_path):
    parent = tmp_path / "runs" / "vanilla-digits"
    assert claim_many(parent, 3) == ["1", "2", "3"]
    assert sorted(path.name for path in parent.iterdir()) == ["1", "2", "3"]


def test_the_next_integer_is_above_the_largest_and_names_do_not_count(tmp_path):
    for name in ("2", "9", "10", "best", "11a", "-20", "1.5"):
        (tmp_path / name).mkdir()
    assert runs.claim(tmp_path, None) == tmp_path / "11"


def test_a_number_that_a_file_has_is_not_given_out(tmp_path):
    (tmp_path / "1").write_text("")
    assert runs.claim(tmp_path, None) == tmp_path / "2"


@pytest.mark.parametrize("name", ["²", "١"])
def test_digits_that_are_not_ascii_do_not_confuse_the_count(tmp_path, name):
    (tmp_path / name).mkdir()
    assert runs.claim(tmp_path, None).name.isascii()


def test_threads_that_claim_at_once_get_different_folders(tmp_path):
    start, found = threading.Barrier(8), []

    def work() -> None:
        start.wait()
        found.extend(claim_many(tmp_path, 20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=int) == [str(number) for number in range(1, 161)]


def test_processes_that_claim_at_once_get_different_folders(tmp_path):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        parts = list(pool.map(claim_many, [tmp_path] * 2, [100] * 2))
    assert sorted(parts[0] + parts[1], key=int) == [str(number) for number in range(1, 201)]


def test_a_taken_name_is_an_error_that_offers_to_go_on_and_nothing_changes(tmp_path):
    folder = runs.claim(tmp_path, "mine")
    assert folder == tmp_path / "mine"
    (folder / "config.yaml").write_text("kept")
    with pytest.raises(ValueError, match=rf"run folder {folder} exists\. .*daezoo fit --resume {folder}"):
        runs.claim(tmp_path, "mine")
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert (folder / "config.yaml").read_text() == "kept"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/absolute", "../up", "trailing/"])
def test_a_name_that_is_no_plain_folder_name_is_an_error_and_leaves_nothing(tmp_path, name):
    with pytest.raises(ValueError, match="must be a plain folder name, got"):
        runs.claim(tmp_path / "runs" / "vanilla-digits", name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_finished_when_its_summary_is_written(tmp_path):
    assert runs.summary_of(tmp_path) is None
    runs.write_summary(tmp_path, {"epochs": 3, "test": {"mse": 0.5}})
    assert runs.summary_of(tmp_path) == {"epochs": 3, "test": {"mse": 0.5}}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_folder_is_one_processs_at_a_time(tmp_path):
    taken = runs.lock(tmp_path)
    with pytest.raises(ValueError, match=f"Another process is training in {tmp_path}"):
        runs.lock(tmp_path)
    os.close(taken)
    os.close(runs.lock(tmp_path))
