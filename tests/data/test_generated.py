import multiprocessing
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import safetensors.torch
import torch

from conftest import whole
from daezoo.data.generated import Labelled, _own, _read, generated
from daezoo.data.splits import Split, digest
from daezoo.randomness import generator

SPLITS = ["train", "valid", "test"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "generated"


class Maker:
    """Makes a few labelled images of any split, and notes which ones it was asked for."""

    def __init__(self, *size: int, before: Callable[[], object] = lambda: None) -> None:
        self.size = size or (3, 1, 2, 2)
        self.before = before
        self.asked: list[str] = []

    def __call__(self, split: str) -> Labelled:
        self.before()
        self.asked.append(split)
        draw = generator(split)
        images = torch.randint(256, self.size, generator=draw, dtype=torch.uint8)
        return images, torch.randint(10, self.size[:1], generator=draw)


def assert_as_made(splits: dict[str, Split], *size: int) -> None:
    assert list(splits) == SPLITS
    for name, split in splits.items():
        images, labels = Maker(*size)(name)
        sample = whole(split)
        assert torch.equal(sample.clean, images)
        assert torch.equal(sample.label, labels)
        assert (sample.clean.dtype, sample.label.dtype) == (torch.uint8, torch.int64)


def kept(cache: Path) -> Path:
    """The one file there is, and that it is the only one."""
    (file,) = cache.iterdir()
    return file


def test_splits_are_made_once_and_then_read(cache):
    make = Maker()
    for _ in range(3):
        assert_as_made(generated("set", (1, "a"), make))
    assert make.asked == SPLITS
    assert kept(cache).name.startswith("set-")


@pytest.mark.parametrize("other", [("sets", (1, "a")), ("set", (2, "a")), ("set", (1, "b")), ("set", ("1", "a"))])
def test_another_name_or_key_is_another_file(cache, other):
    generated("set", (1, "a"), Maker())
    make = Maker(4, 3, 2, 2)
    assert_as_made(generated(*other, make), 4, 3, 2, 2)
    assert make.asked == SPLITS
    assert len(list(cache.iterdir())) == 2
    assert_as_made(generated("set", (1, "a"), Maker(9)))  # still there


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def foreign(content: bytes, change: Callable[[dict[str, Any]], object], digested: bool = True) -> bytes:
    """The file with other tensors in it, whole by its own account."""
    tensors = safetensors.torch.load(content)
    del tensors["sha256"]
    change(tensors)
    return safetensors.torch.save(tensors | ({"sha256": _own(tensors, (1,))} if digested else {}))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"not a file of tensors, but long enough to be one",
    "short of a byte": lambda content: content[:-1],
    "half there": lambda content: content[: len(content) // 2],
    "a byte too long": lambda content: content + b"\0",
    "zeroed at the end": lambda content: content[:-8] + bytes(8),
    "with a flipped bit": lambda content: flipped(content, 8 * len(content) - 100),
    "without a digest": lambda content: foreign(content, lambda tensors: None, digested=False),
    "without a split": lambda content: foreign(content, lambda tensors: tensors.pop("valid.labels")),
    "with another tensor": lambda content: foreign(content, lambda tensors: tensors.update(more=torch.ones(3))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_or_foreign_file_is_made_again(cache, damage):
    generated("set", (1,), Maker())
    path = kept(cache)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    make = Maker()
    assert_as_made(generated("set", (1,), make))
    assert make.asked == SPLITS
    assert kept(cache) == path
    assert path.read_bytes() == content


def test_a_flipped_bit_of_a_file_never_changes_what_is_read_of_it(cache):
    generated("set", (1,), Maker())
    path = kept(cache)
    content, expected = path.read_bytes(), _read(path, (1,))
    assert expected is not None
    refused, bits = 0, range(0, 8 * len(content), 29)  # every place in a byte
    for bit in bits:
        path.write_bytes(flipped(content, bit))
        found = _read(path, (1,))
        refused += found is None
        if found is not None:
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert refused > 0.99 * len(bits)


@contextmanager
def full_disk() -> Iterator[None]:
    """Writing beyond the first 4 KiB of a file fails, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_a_warning_and_leaves_nothing(cache):
    wanted = r"not kept, because .*set-.* cannot be written: File too large\. Set DAEZOO_CACHE"
    with pytest.warns(UserWarning, match=wanted), full_disk():
        splits = generated("set", (1,), Maker(9, 1, 28, 28))
    assert_as_made(splits, 9, 1, 28, 28)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_on_a_full_disk_is_still_not_read(cache):
    size = (9, 1, 28, 28)
    generated("set", (1,), Maker(*size))
    path = kept(cache)
    path.write_bytes(flipped(path.read_bytes(), 8 * 5000))
    with pytest.warns(UserWarning, match="are not kept"), full_disk():
        splits = generated("set", (1,), Maker(*size))
    assert_as_made(splits, *size)


def test_a_cache_that_is_a_file_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"not kept, because .*/file/generated/set-.* cannot be written: Not a dir"):
        assert_as_made(generated("set", (1,), Maker()))
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_in_place_of_the_file_is_a_warning(cache):
    generated("set", (1,), Maker())
    path = kept(cache)
    path.unlink()
    path.mkdir()
    with pytest.warns(UserWarning, match="are not kept"):
        assert_as_made(generated("set", (1,), Maker()))
    assert kept(cache).is_dir()


@pytest.mark.parametrize("error", [ValueError("no texture"), OSError("no photographs"), KeyboardInterrupt()])
def test_an_error_of_the_generator_is_not_taken_for_one_of_the_cache(cache, error):
    def fail(split: str) -> Labelled:
        if split == "test":
            raise error
        return Maker()(split)

    with pytest.raises(type(error)) as raised:
        generated("set", (1,), fail)
    assert raised.value is error
    assert not cache.exists()


def test_a_cache_that_was_removed_is_made_again(cache):
    generated("set", (1,), Maker())
    shutil.rmtree(cache.parent)
    assert_as_made(generated("set", (1,), Maker()))
    assert kept(cache).is_file()


def test_threads_that_make_the_same_set_at_once_leave_each_other_alone(cache):
    both = Barrier(2)
    makers = [Maker(before=lambda: both.wait(30)) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for splits in pool.map(lambda make: generated("set", (1,), make), makers):
            assert_as_made(splits)
    assert [make.asked for make in makers] == [SPLITS] * 2
    assert kept(cache).suffix == ".safetensors"
    assert_as_made(generated("set", (1,), Maker(9)))


def make_in_process(both: Any) -> None:
    make = Maker(before=lambda: both.wait(30))
    assert_as_made(generated("set", (1,), make))
    assert make.asked == SPLITS


def test_processes_that_make_the_same_set_at_once_leave_each_other_alone(cache):
    context = multiprocessing.get_context("fork")
    both = context.Barrier(2)
    processes = [context.Process(target=make_in_process, args=(both,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert kept(cache).suffix == ".safetensors"
    assert_as_made(generated("set", (1,), Maker(9)))


def test_digest_tells_values_shapes_types_order_and_words_apart():
    a, b = torch.arange(6, dtype=torch.uint8), torch.ones(2)
    others = [[b, a], [a.view(2, 3), b], [a.view(3, 2), b], [a.char(), b], [a + 1, b], [a], [torch.cat([a, a]), b]]
    digests = [digest([a, b]), digest([a, b], "word"), *map(digest, others)]
    assert len(set(digests)) == len(digests)
    assert digest([a.clone(), b.clone()]) == digest([a, b])
    assert digest([a.view(2, 3).t()]) == digest([a.view(2, 3).t().contiguous()])


def test_a_file_of_another_key_is_not_taken_for_this_one(cache):
    generated("set", (1,), Maker())
    first = kept(cache)
    generated("set", (2,), Maker(4, 3, 2, 2))
    (second,) = set(cache.iterdir()) - {first}
    shutil.copy(second, first)
    make = Maker()
    assert_as_made(generated("set", (1,), make))
    assert make.asked == SPLITS
