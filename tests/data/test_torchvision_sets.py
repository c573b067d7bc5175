import gzip
import hashlib
import io
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from conftest import whole
from daezoo.data import CIFAR10Data, DenoisingDataModule, FashionMNISTData, MNISTData
from small_sets import idx

TRAIN, TEST = 5_060, 40  # validation takes 5,000
IDX = pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
ALL = pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10"])
MODULES: dict[str, type[DenoisingDataModule]] = {
    "MNIST": MNISTData,
    "FashionMNIST": FashionMNISTData,
    "CIFAR10": CIFAR10Data,
}


def numbered(count: int, start: int, *shape: int) -> np.ndarray:
    """Random bytes, the first two of each sample its number."""
    images = np.random.default_rng(start).integers(0, 256, (count, *shape), dtype=np.uint8)
    number = np.arange(start, start + count)
    flat = images.reshape(count, -1)
    flat[:, 0], flat[:, 1] = number // 256, number % 256
    return images


def numbers(clean: torch.Tensor) -> list[int]:
    flat = clean.flatten(1).int()
    return (flat[:, 0] * 256 + flat[:, 1]).tolist()


def idx_files() -> dict[str, bytes]:
    files = {}
    for part, count, start in (("train", TRAIN, 0), ("t10k", TEST, TRAIN)):
        files[f"{part}-images-idx3-ubyte"] = idx(numbered(count, start, 28, 28))
        files[f"{part}-labels-idx1-ubyte"] = idx((np.arange(start, start + count) % 10).astype(np.uint8))
    return files


def cifar_files() -> dict[str, bytes]:
    files = {"batches.meta": pickle.dumps({"label_names": list("abcdefghij")})}
    part = TRAIN // 5
    starts = {f"data_batch_{i + 1}": (i * part, part) for i in range(5)} | {"test_batch": (TRAIN, TEST)}
    for name, (start, count) in starts.items():
        labels = (np.arange(start, start + count) % 10).tolist()
        files[name] = pickle.dumps({"data": numbered(count, start, 3072), "labels": labels})
    return files


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Downloads go to a closed port of this machine, the default folder is empty; the closed address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("DAEZOO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    point_to(address, monkeypatch)
    return address


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(source, "mirrors", [address])
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}cifar-10-python.tar.gz")


def expect(name: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torchvision take our files for the real ones."""
    if name == "CIFAR10":
        monkeypatch.setattr(datasets.CIFAR10, "train_list", [[f, md5(files[f])] for f in files if "data" in f])
        monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
        monkeypatch.setitem(datasets.CIFAR10.meta, "md5", md5(files["batches.meta"]))


def provide(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = cifar_files() if name == "CIFAR10" else idx_files()
    expect(name, files, monkeypatch)
    folder = root / ("cifar-10-batches-py" if name == "CIFAR10" else f"{name}/raw")
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def loaded(name: str, **options: Any) -> DenoisingDataModule:
    data = MODULES[name](batch_size=10, **options)
    data.prepare_data()
    data.setup()
    return data


def assert_whole(data: DenoisingDataModule) -> None:
    splits = data.splits
    assert {part: len(split) for part, split in splits.items()} == {"train": TRAIN - 5000, "valid": 5000, "test": TEST}
    samples = {part: whole(split) for part, split in splits.items()}
    found = {part: numbers(sample.clean) for part, sample in samples.items()}
    assert sorted(found["train"] + found["valid"]) == list(range(TRAIN))
    assert found["test"] == list(range(TRAIN, TRAIN + TEST))
    for part, sample in samples.items():
        assert sample.clean.dtype == torch.uint8
        assert list(sample.clean.shape[1:]) == data.shape
        assert sample.label.tolist() == [number % 10 for number in found[part]]


@ALL
def test_files_in_a_given_root_make_three_splits_without_overlap(name, tmp_path, monkeypatch):
    provide(name, tmp_path / "root", monkeypatch)
    data = loaded(name, root=str(tmp_path / "root"))
    assert_whole(data)
    batch = next(data.evaluation_batches("valid"))
    assert (batch.clean.min(), batch.clean.max()) == (0, 1)


@ALL
def test_files_are_found_through_daezoo_data(name, tmp_path, monkeypatch):
    provide(name, tmp_path / "elsewhere", monkeypatch)
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path / "elsewhere"))
    assert_whole(loaded(name))


def test_files_are_found_in_the_folder_data_and_a_root_wins_over_daezoo_data(tmp_path, monkeypatch):
    provide("MNIST", tmp_path / "data", monkeypatch)
    assert_whole(loaded("MNIST"))
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path / "elsewhere"))
    assert_whole(loaded("MNIST", root="data"))


def test_split_seed_alone_deals_out_the_validation_split(tmp_path, monkeypatch):
    provide("MNIST", tmp_path / "data", monkeypatch)
    seeds: tuple[dict[str, int], ...] = ({}, {"seed": 7}, {"split_seed": 7})
    usual, seed, split_seed = (whole(loaded("MNIST", **o).splits["train"]).clean for o in seeds)
    assert torch.equal(usual, seed)
    assert not torch.equal(usual, split_seed)


@ALL
def test_validation_and_training_have_the_wanted_sizes_and_share_no_image(name, tmp_path, monkeypatch):
    provide(name, tmp_path / "data", monkeypatch)
    parts = {part: numbers(whole(split).clean) for part, split in loaded(name, valid=70, train=300).splits.items()}
    assert {part: len(found) for part, found in parts.items()} == {"train": 300, "valid": 70, "test": TEST}
    assert len(set(parts["train"] + parts["valid"])) == 370
    assert set(parts["train"] + parts["valid"]) < set(range(TRAIN))
    assert parts["test"] == list(range(TRAIN, TRAIN + TEST))


def test_all_images_that_are_left_are_trained_on_by_default(tmp_path, monkeypatch):
    provide("MNIST", tmp_path / "data", monkeypatch)
    splits = loaded("MNIST", valid=70).splits
    assert sorted(numbers(whole(splits["train"]).clean) + numbers(whole(splits["valid"]).clean)) == list(range(TRAIN))
    assert len(splits["valid"]) == 70


def test_fewer_training_images_are_the_first_of_more_and_leave_validation_alone(tmp_path, monkeypatch):
    provide("MNIST", tmp_path / "data", monkeypatch)
    few, more = (loaded("MNIST", valid=70, train=train).splits for train in (30, TRAIN - 70))
    assert torch.equal(whole(few["train"]).clean, whole(more["train"]).clean[:30])
    assert torch.equal(whole(few["valid"]).clean, whole(more["valid"]).clean)


@pytest.mark.parametrize(
    "options",
    [
        {"valid": 0},
        {"valid": -1},
        {"valid": TRAIN},
        {"valid": TRAIN + 1},
        {"train": 0},
        {"train": TRAIN - 5000 + 1},
        {"valid": 70, "train": TRAIN - 69},
    ],
)
def test_sizes_that_cannot_be_had_are_an_error_that_says_how_many_images_there_are(options, tmp_path, monkeypatch):
    provide("MNIST", tmp_path / "data", monkeypatch)
    wanted = {"valid": 5000, "train": None} | options
    message = f"There are 5,060 images .*got train={wanted['train']} and valid={wanted['valid']}"
    with pytest.raises(ValueError, match=message):
        loaded("MNIST", **options)


def test_colours_of_cifar_stay_in_their_channels(tmp_path, monkeypatch):
    provide("CIFAR10", tmp_path / "data", monkeypatch)
    image = whole(loaded("CIFAR10").splits["test"]).clean[0]
    assert torch.equal(image.flatten(), torch.from_numpy(numbered(TEST, TRAIN, 3072)[0]))


@ALL
@pytest.mark.parametrize("through", ["root", "DAEZOO_DATA", "default"])
def test_absent_and_offline_is_one_error_that_says_where_it_looked_and_what_to_do(name, through, tmp_path, monkeypatch):
    folder = tmp_path / ("data" if through == "default" else "wanted")
    if through == "DAEZOO_DATA":
        monkeypatch.setenv("DAEZOO_DATA", str(folder))
    data = MODULES[name](**({"root": "wanted"} if through == "root" else {}))
    with pytest.raises(ValueError) as caught:
        data.prepare_data()
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {folder}, and downloading it failed")
    for hint in ("DAEZOO_DATA", "--data.root"):
        assert hint in message


@IDX
def test_error_of_absence_names_the_folder_that_this_set_is_read_from(name):
    with pytest.raises(ValueError, match=f"{name}/raw"):
        MODULES[name]().prepare_data()


def test_command_says_that_a_set_is_absent_in_one_line_and_makes_no_run(daezoo_command, workplace):
    from conftest import fit_arguments

    status, _, stderr = daezoo_command(*fit_arguments("vanilla", "mnist"))
    assert status == 2
    assert stderr.startswith(f"daezoo: error: MNIST is not in {workplace}/data, and downloading it failed")
    assert len(stderr.splitlines()) == 1
    assert not (workplace / "runs").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class CutShort(Quiet):
    """Announces more than it sends."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read()[:-100])


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture
def server(served: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    handler = partial(getattr(request, "param", Quiet), directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def publish(name: str, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files where the server finds them, as the mirrors have them."""
    if name == "CIFAR10":
        files = cifar_files()
        expect(name, files, monkeypatch)
        with tarfile.open(served / "cifar-10-python.tar.gz", "w:gz") as archive:
            for file, content in files.items():
                info = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5((served / "cifar-10-python.tar.gz").read_bytes()))
    else:
        packed = {f"{file}.gz": gzip.compress(content, 1, mtime=0) for file, content in idx_files().items()}
        for file, content in packed.items():
            (served / file).write_bytes(content)
        resources = [(file, md5(content)) for file, content in packed.items()]
        monkeypatch.setattr(getattr(datasets, name), "resources", resources)


@ALL
def test_absent_files_are_downloaded_once_without_a_word_on_stdout(name, served, server, nowhere, monkeypatch, capfd):
    publish(name, served, monkeypatch)
    point_to(server, monkeypatch)
    assert_whole(loaded(name, root="fetched"))
    assert capfd.readouterr().out == ""
    point_to(nowhere, monkeypatch)
    assert_whole(loaded(name, root="fetched"))


@ALL
def test_a_download_that_is_not_what_was_expected_is_refused(name, served, server, monkeypatch):
    publish(name, served, monkeypatch)
    for file in served.iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    point_to(server, monkeypatch)
    with pytest.raises(ValueError, match=f"{name} is not in .*downloading it failed"):
        loaded(name, root="fetched")


@pytest.mark.parametrize("server", [CutShort], indirect=True)
@ALL
def test_a_download_that_breaks_off_is_refused(name, served, server, monkeypatch):
    publish(name, served, monkeypatch)
    point_to(server, monkeypatch)
    with pytest.raises(ValueError, match=f"{name} is not in .*downloading it failed"):
        loaded(name, root="fetched")


@IDX
@pytest.mark.parametrize("damage", ["truncated", "empty", "of another type", "of another length"])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_damaged_idx_file_is_refused_with_what_to_do(name, file, damage, tmp_path, monkeypatch):
    path = provide(name, tmp_path / "data", monkeypatch) / file
    whole = path.read_bytes()
    shorter = idx(np.zeros((7, 28, 28) if "images" in file else 7, np.uint8))
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "of another type": whole[:2] + b"\x0a" + whole[3:],
            "of another length": shorter,
        }[damage]
    )
    with pytest.raises(ValueError, match=f"{name} in {tmp_path}/data cannot be read .*Delete"):
        loaded(name)


def test_a_damaged_cifar_file_is_not_unpickled(tmp_path, monkeypatch):
    path = provide("CIFAR10", tmp_path / "data", monkeypatch) / "data_batch_2"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="CIFAR10"):
        loaded("CIFAR10")
