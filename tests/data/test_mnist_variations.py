import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from conftest import fit_arguments, whole
from daezoo.batch import Sample
from daezoo.data import MNISTVariationsData
from daezoo.data.location import DataMissing
from small_sets import angles_of, dots, folder_of, found_in, mnist_of, noise

KINDS = ("basic", "rot", "bg-rand", "bg-img", "rot-bg-img")
ALL = pytest.mark.parametrize("kind", KINDS)
SIZES = {"train": 120, "valid": 40, "test": 50}
COUNT = 230  # few enough that each digit has a label of its own
PICTURES = [noise(30, 44, 0), noise(40, 31, 1)]
CORNERS = torch.hypot(*torch.meshgrid(*[torch.arange(28) - 13.5] * 2, indexing="ij")) > 14.5  # beyond any dot


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST, whose digits are dots, the brighter the larger the label."""
    labels = np.arange(COUNT)
    return mnist_of(tmp_path_factory.mktemp("mnist"), dots(20 + labels), labels, test=90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("photographs"), *PICTURES)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "generated"


@pytest.fixture
def loaded(root: Path, folder: Path) -> Any:
    def load(kind: str, **options: Any) -> dict[str, Sample]:
        """The samples of all splits."""
        usual = {"root": str(root), "photographs": str(folder), "batch_size": 10}
        data = MNISTVariationsData(kind, **(usual | SIZES | options))
        data.prepare_data()
        data.setup()
        return {name: whole(split) for name, split in data.splits.items()}

    return load


def joined(samples: dict[str, Sample]) -> tuple[Tensor, Tensor]:
    return torch.cat([sample.clean for sample in samples.values()]), torch.cat([s.label for s in samples.values()])


def originals(labels: Tensor) -> Tensor:
    return torch.from_numpy(dots(20 + labels.numpy())).unsqueeze(1)


def test_sizes_by_default_are_those_of_the_paper():
    assert MNISTVariationsData().sizes == (10_000, 2_000, 50_000)


@ALL
def test_splits_have_the_wanted_sizes_shape_and_range(kind, root, folder):
    data = MNISTVariationsData(kind, str(folder), root=str(root), batch_size=120, **SIZES)
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == SIZES
    for name, split in data.splits.items():
        assert list(split[0].clean.shape) == data.shape == [1, 28, 28]
        assert split[0].clean.dtype == torch.uint8
        clean = next(data.evaluation_batches(name)).clean
        assert clean.min() >= 0
        assert 0.5 < clean.max() <= 1


def test_splits_share_no_digit_and_labels_stay_with_their_digits(loaded):
    images, labels = joined(loaded("basic"))
    assert len(labels.unique()) == len(labels) == sum(SIZES.values())
    assert torch.equal(images, originals(labels))


def test_digits_come_from_both_parts_of_mnist_in_random_order(loaded):
    labels = loaded("basic", train=70, valid=70, test=90)
    assert torch.equal(joined(labels)[1].sort().values, torch.arange(COUNT))
    for sample in labels.values():
        assert 0.2 < (sample.label >= COUNT - 90).double().mean() < 0.6
        assert not torch.equal(sample.label, sample.label.sort().values)


def test_all_problems_are_made_of_the_same_digits_in_the_same_order(loaded):
    labels = {kind: joined(loaded(kind))[1] for kind in KINDS}
    for kind in KINDS[1:]:
        assert torch.equal(labels[kind], labels["basic"])


@pytest.mark.parametrize("kind", ["rot", "rot-bg-img"])
def test_digits_are_turned_by_angles_uniform_over_the_circle(kind, tmp_path, loaded):
    dark = folder_of(tmp_path / "dark", noise(40, 40) // 128 * 50) if kind == "rot-bg-img" else None
    samples = loaded(kind, **({"photographs": str(dark)} if dark else {}))
    for sample in samples.values():
        bright = torch.where(sample.clean > 50, sample.clean, 0)[sample.label > 100]
        assert stats.kstest(angles_of(bright) / (2 * math.pi), "uniform").pvalue > 0.01
    images, labels = joined(samples)
    brightness = images.flatten(1).max(1).values / (20 + labels)  # less than it was, where the dot is between pixels
    assert brightness[labels > 100].min() > 0.8
    assert brightness[labels > 100].max() <= 1


@pytest.mark.parametrize("kind", ["basic", "bg-rand", "bg-img"])
def test_digits_are_upright_and_as_bright_at_least_as_their_pixels(kind, loaded):
    images, labels = joined(loaded(kind))
    digits = originals(labels)
    assert (images >= digits).all()
    covered = images > digits
    share = covered.double().mean().item()
    assert share == 0 if kind == "basic" else 0.9 < share < 1
    assert (images == digits)[digits > 150].double().mean() > 0.5  # the brightest part of most dots is seen


def test_background_of_noise_is_uniform_in_0_to_255(loaded):
    for sample in loaded("bg-rand").values():
        background = sample.clean[originals(sample.label) == 0]
        assert len(background) > 25_000
        assert stats.chisquare(background.bincount(minlength=256)).pvalue > 0.01


@pytest.mark.parametrize("kind", ["bg-img", "rot-bg-img"])
def test_backgrounds_are_patches_of_the_given_photographs(kind, loaded):
    for sample in loaded(kind).values():
        visible = CORNERS.expand_as(sample.clean) if kind == "rot-bg-img" else originals(sample.label) == 0
        first, second = (found_in(sample.clean, torch.from_numpy(p).unsqueeze(0), visible) for p in PICTURES)
        assert (first ^ second).all()
        assert 0.3 < first.double().mean() < 0.7


def unlike(kind: str, first: Tensor, second: Tensor) -> bool:
    """Whether hardly any of the images are turned alike, or have the same background."""
    drawn = [(10 * angles_of(i)).round().unsqueeze(1) if kind == "rot" else i[:, 0, CORNERS] for i in (first, second)]
    return bool((drawn[0] == drawn[1]).all(1).double().mean() < 0.2)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_splits_and_images_are_drawn_independently(kind, loaded):
    first, second, third = (sample.clean[:40] for sample in loaded(kind).values())
    for other in (second, third, first.roll(1, 0)):
        assert unlike(kind, first, other)
    assert unlike(kind, second, third)


@ALL
def test_split_seed_alone_decides_the_splits(kind, loaded, cache):
    usual, split_seed = loaded(kind), loaded(kind, split_seed=7)
    shutil.rmtree(cache)
    seed = loaded(kind, seed=7)
    for name in SIZES:
        assert torch.equal(usual[name].clean, seed[name].clean)
        assert torch.equal(usual[name].label, seed[name].label)
        assert (usual[name].label == split_seed[name].label).double().mean() < 0.2
        assert kind == "basic" or unlike(kind, usual[name].clean, split_seed[name].clean)


@ALL
def test_the_size_of_the_test_split_does_not_change_the_others(kind, loaded):
    usual, other = loaded(kind), loaded(kind, test=70)
    for name in ("train", "valid"):
        assert torch.equal(usual[name].clean, other[name].clean)
        assert torch.equal(usual[name].label, other[name].label)
    assert torch.equal(usual["test"].label, other["test"].label[:50])


@pytest.fixture
def no_generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to have an error of every attempt to generate images."""

    def fail(*args: object) -> Tensor:
        raise RuntimeError("made anew")

    return lambda: monkeypatch.setattr("daezoo.data.mnist_variations.variation", fail)


@ALL
def test_what_was_made_is_read_the_second_time(kind, loaded, no_generator, cache):
    usual = loaded(kind)
    no_generator()
    again = loaded(kind, seed=3, batch_size=7)
    for name in SIZES:
        assert torch.equal(usual[name].clean, again[name].clean)
        assert torch.equal(usual[name].label, again[name].label)
    assert [path.name.startswith(f"mnist-{kind}-") for path in cache.iterdir()] == [True]


def other(what: str, folder: Path) -> dict[str, Any]:
    """Arguments that change the data in one respect, if only a bit."""
    images, labels, edge = dots(20 + np.arange(COUNT)), np.arange(COUNT), np.arange(28) == 0
    if what == "photographs":
        return {what: str(folder_of(folder, PICTURES[0], PICTURES[1] ^ (np.arange(31) == 0)))}
    if what == "images of MNIST":
        return {"root": str(mnist_of(folder, images ^ edge, labels, test=90))}
    if what == "labels of MNIST":
        return {"root": str(mnist_of(folder, images, labels[::-1], test=90))}
    return {"kind": {"kind": "rot-bg-img"}, "test": {"test": 51}, "split_seed": {"split_seed": 1}}[what]


@pytest.mark.parametrize(
    "what", ["kind", "test", "split_seed", "photographs", "images of MNIST", "labels of MNIST", "version"]
)
def test_other_data_are_made_anew(what, loaded, no_generator, tmp_path, monkeypatch):
    loaded("bg-img")
    no_generator()
    if what == "version":
        monkeypatch.setattr("daezoo.data.mnist_variations.VERSION", 0)
    with pytest.raises(RuntimeError, match="made anew"):
        loaded(**({"kind": "bg-img"} | (other(what, tmp_path / "other") if what != "version" else {})))


@pytest.mark.parametrize("kind", ["basic", "rot", "bg-rand"])
def test_photographs_do_not_matter_where_there_are_none(kind, loaded, no_generator):
    usual = loaded(kind)
    no_generator()
    assert torch.equal(usual["train"].clean, loaded(kind, photographs="gone")["train"].clean)


def test_a_damaged_file_in_the_cache_is_made_again(loaded, cache):
    usual = loaded("rot")
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    assert torch.equal(usual["train"].clean, loaded("rot")["train"].clean)
    content[-1000] ^= 1
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning_and_the_data_are_there(loaded, tmp_path, monkeypatch):
    usual = loaded("rot")
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="Set DAEZOO_CACHE"):
        assert torch.equal(usual["test"].clean, loaded("rot")["test"].clean)


def test_shipped_photographs_are_behind_digits_by_default(loaded):
    usual, given = loaded("bg-img", photographs=None), loaded("bg-img")
    assert torch.equal(usual["test"].label, given["test"].label)
    assert usual["test"].clean.flatten(1).float().std(1).min() > 15
    assert not torch.equal(usual["test"].clean, given["test"].clean)


def test_photographs_are_found_through_daezoo_data(loaded, folder, monkeypatch):
    expected = loaded("bg-img")
    monkeypatch.setenv("DAEZOO_DATA", str(folder.parent))
    found = loaded("bg-img", photographs=f"$DAEZOO_DATA/{folder.name}")
    assert torch.equal(found["test"].clean, expected["test"].clean)


@pytest.mark.parametrize("sizes", [{"train": 0}, {"valid": 0}, {"test": -1}, {"train": 18_001}])
def test_sizes_that_mnist_cannot_have_are_errors(sizes):
    with pytest.raises(ValueError, match=r"Every split needs an image or more, .* 70,000 of MNIST, got"):
        MNISTVariationsData(**sizes)
    assert MNISTVariationsData(train=18_000).sizes == (18_000, 2_000, 50_000)


def test_fewer_digits_than_wanted_are_an_error_that_says_how_many_there_are(loaded, root):
    with pytest.raises(ValueError, match=f"1,120 images are wanted, but MNIST in {root} has 230"):
        loaded("basic", test=960)


def test_photographs_that_cannot_be_used_are_errors(loaded, tmp_path, cache):
    with pytest.raises(DataMissing, match="gone"):
        loaded("bg-img", photographs=str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"picture00\.png is 44x27, smaller than a crop of 28"):
        loaded("bg-img", photographs=str(folder_of(tmp_path / "small", noise(27, 44))))
    with pytest.raises(ValueError, match="Use photographs with more texture"):
        loaded("rot-bg-img", photographs=str(folder_of(tmp_path / "flat", np.full((30, 30), 137, np.uint8))))
    assert not cache.exists()


def test_a_model_is_trained_on_a_variation_through_the_command_line(daezoo_command, root, cache):
    small = [part for name, size in SIZES.items() for part in (f"--data.{name}", str(size))]
    options = ["--data.kind", "bg-rand", "--data.root", str(root), "--data.batch_size", "60"]
    arguments = fit_arguments("vanilla", "mnist_variations", *small, *options)
    status, _, err = daezoo_command(*arguments, "--trainer.fast_dev_run", "true")
    assert status == 0, err
    assert [path.name[:14] for path in cache.iterdir()] == ["mnist-bg-rand-"]


def test_the_command_refuses_a_problem_that_there_is_not(daezoo_command):
    status, _, err = daezoo_command(*fit_arguments("vanilla", "mnist_variations", "--data.kind", "bg-random"))
    assert status == 2
    assert "bg-random" in err


def test_a_kind_that_is_not_known_is_an_error():
    with pytest.raises(ValueError, match="kind must be one of basic, rot, bg-rand, bg-img, rot-bg-img, got 'noise'"):
        MNISTVariationsData("noise")
