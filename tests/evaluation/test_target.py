import json
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import fit_arguments
from daezoo.checkpoint import read
from daezoo.cli import main
from daezoo.corruption import Gaussian, Masking
from daezoo.data import ArraysData, CIFAR10Data, DigitsData, FashionMNISTData, MNISTData, ShapesData
from daezoo.evaluation.probe import judge
from daezoo.evaluation.target import data_names, open_target, parse, target_parser
from daezoo.models import DenoisingAutoencoder
from daezoo.zoo.loading import load

TINY = {
    "vanilla": ["--model.hidden", "[16]", "--model.tied", "false"],
    "stacked": ["--model.hidden", "[16,12,8]", "--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "0"],
    "conv": ["--model.channels", "[4,6]", "--model.code", "8"],
    "residual": ["--model.network.widths", "[6,8]"],
}
STILL = ["--model.optimizer", "SGD", "--model.optimizer.lr", "1e-12"]


def train(model, data, folder, *others):
    """A tiny run."""
    epochs = [] if model == "stacked" else ["--trainer.max_epochs", "1"]
    limits = [*epochs, "--trainer.limit_train_batches", "2", "--trainer.precision", "32-true"]
    with redirect_stdout(StringIO()), patch("daezoo.figures.save_all", return_value=[]):  # pictures take long
        assert main(fit_arguments(model, data, *TINY[model], *limits, "--runs", str(folder), *others)) == 0
    return str(folder / f"{model}-{data}" / "1")


@pytest.fixture(scope="module")
def still_runs(tmp_path_factory):
    """Runs, of seed 7, whose weights hardly move."""
    folder = tmp_path_factory.mktemp("still")
    return {model: train(model, "digits", folder, *STILL, "--seed_everything", "7") for model in TINY}


@pytest.fixture(scope="module")
def noises_run(tmp_path_factory):
    """A run with one noise in training and another in evaluation, that learned something."""
    noises = ["--data.corruption", "Gaussian", "--data.corruption.sigma", "0.3"]
    noises += ["--data.evaluation_corruption", "Masking", "--data.evaluation_corruption.ratio", "0.6"]
    return train("vanilla", "digits", tmp_path_factory.mktemp("noises"), *noises, "--model.optimizer.lr", "0.5")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An .npz file of pictures of the digits' size, in two classes that have nothing to do with them."""
    path, draw = tmp_path_factory.mktemp("data") / "pictures.npz", np.random.default_rng(0)
    arrays = {"train_images": draw.random((150, 8, 8)), "test_images": draw.random((30, 8, 8))}
    np.savez(path, train_labels=np.arange(150) % 2, test_labels=np.arange(30) % 2, **arrays)
    return str(path)


def parsed(*args):
    return parse(target_parser("probe", ""), [*args])


def opened(*args):
    return open_target(parsed(*args, "--device", "cpu"))


# the untrained encoder


@pytest.mark.parametrize("model", TINY)
def test_untrained_has_the_initial_weights_of_the_run(model, still_runs):
    target = opened(still_runs[model])
    trained = read(target.path)["state_dict"]
    untrained = target.untrained()
    assert type(untrained) is type(target.model)
    assert not untrained.training
    assert untrained.state_dict().keys() == trained.keys()
    for name, weight in untrained.state_dict().items():
        assert torch.allclose(weight, trained[name], rtol=0, atol=1e-6), name
    # and drawn at random, so that another seed would differ
    assert any(weight.std() > 1e-3 for weight in untrained.parameters() if weight.numel() > 1)


def test_untrained_is_the_same_whatever_was_drawn_before_and_on_other_data(still_runs):
    first = opened(still_runs["conv"]).untrained()
    torch.manual_seed(123)
    target = opened(still_runs["conv"], "--data", "digits", "--data.seed", "3")
    second, third = target.untrained(), target.untrained()
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
        assert torch.equal(weight, third.state_dict()[name])


def test_untrained_is_not_the_trained_model_of_a_run_that_learned(noises_run):
    target = opened(noises_run)
    untrained = target.untrained()
    assert untrained is not target.model
    trained = target.model.state_dict()
    assert not all(torch.allclose(weight, trained[name], atol=1e-4) for name, weight in untrained.state_dict().items())


def test_the_baseline_of_a_run_that_did_not_move_is_the_run_itself(still_runs):
    got = judge(opened(still_runs["vanilla"]))
    assert got["untrained"] == pytest.approx(got["accuracy"], abs=1.01 / 360)


# the encoder is not changed


class NormedDAE(DenoisingAutoencoder):
    """A model whose output differs in training mode, where it also changes its buffers."""

    def __init__(self, shape: list[int], hidden: int = 8) -> None:
        super().__init__(shape)
        self.save_hyperparameters()
        self.encoder = nn.Sequential(nn.Linear(shape[0], hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5))
        self.decoder = nn.Linear(hidden, shape[0])

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        return self.decoder(self.encode(noisy))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)


def vectors(path, seed=0, **others):
    """An .npz file of vectors of two classes, and the options that name it."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for split, size in (("train", 160), ("test", 40)):
        labels = np.arange(size) % 2
        arrays[f"{split}_images"] = 0.4 * labels[:, None] + 0.5 * draw.random((size, 5))
        arrays[f"{split}_labels"] = labels
    np.savez(path, **arrays | others)
    return ["--data", "arrays", "--data.path", str(path)]


def normed(folder):
    """A checkpoint of the model above, with buffers that are not the initial ones."""
    torch.manual_seed(0)
    model = NormedDAE([5])
    with torch.no_grad():
        model(torch.rand(64, 5))
    hyperparameters = {key: value for key, value in model.hparams.items() if key != "_instantiator"}
    assert hyperparameters["_class_path"].rpartition(".")[0] in sys.modules
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyperparameters}, folder / "normed.ckpt")
    return str(folder / "normed.ckpt")


def test_a_probe_changes_neither_parameters_nor_buffers_nor_the_mode(tmp_path):
    target = opened(normed(tmp_path), *vectors(tmp_path / "v.npz"))
    before = {name: value.clone() for name, value in target.model.state_dict().items()}
    wanted = {name: parameter.requires_grad for name, parameter in target.model.named_parameters()}
    assert "encoder.1.running_mean" in before
    first = judge(target)
    after = target.model.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert not target.model.training
    assert {name: parameter.requires_grad for name, parameter in target.model.named_parameters()} == wanted
    assert all(parameter.grad is None for parameter in target.model.parameters())
    # dropout would have given other features
    assert judge(target) == first


@pytest.mark.parametrize("model", TINY)
def test_a_probe_leaves_every_family_as_it_was(model, still_runs, pictures):
    target = opened(still_runs[model], "--data", "arrays", "--data.path", pictures)
    before = {name: value.clone() for name, value in target.model.state_dict().items()}
    got = judge(target, "all")
    assert 0 <= got["accuracy"] <= 1
    assert all(torch.equal(value, before[name]) for name, value in target.model.state_dict().items())


# what the data may be called


def test_short_names_are_those_of_the_configurations():
    assert data_names() == {
        "arrays": "ArraysData",
        "cifar10": "CIFAR10Data",
        "density": "DensityData",
        "digits": "DigitsData",
        "fashion_mnist": "FashionMNISTData",
        "images": "ImagesData",
        "mnist": "MNISTData",
        "mnist_variations": "MNISTVariationsData",
        "pairs": "PairsData",
        "patches": "PatchesData",
        "photographs": "PhotographsData",
        "shapes": "ShapesData",
        "shards": "ShardsData",
        "table": "TableData",
    }


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["--data", "digits"], DigitsData),
        (["--data=digits"], DigitsData),
        (["--data", "DigitsData"], DigitsData),
        (["--data=DigitsData"], DigitsData),
        (["--data", "daezoo.data.DigitsData"], DigitsData),
        (["--data", "mnist"], MNISTData),
        (["--data", "fashion_mnist"], FashionMNISTData),
        (["--data=cifar10"], CIFAR10Data),
        (["--data", "shapes"], ShapesData),
        (["--data", "arrays", "--data.path", "mine.npz"], ArraysData),
        (["--data=arrays", "--data.path=mine.npz"], ArraysData),
    ],
)
def test_data_goes_by_a_short_name_or_a_class(args, kind, workplace):
    assert type(parsed("run", *args).data) is kind
    assert type(parsed(*args, "run").data) is kind


def test_without_data_none_is_asked_for(workplace):
    assert parsed("run").data is None


def test_a_target_that_is_called_like_data_stays_what_it_is(workplace):
    assert parsed("digits", "--data", "mnist").target == "digits"


@pytest.mark.parametrize("args", [["--data", "nonsense"], ["--data=nonsense"], ["--data", "daezoo.data.NoSuchData"]])
def test_an_unknown_name_is_an_error_that_says_it(args, daezoo_command, still_runs):
    status, out, err = daezoo_command("probe", still_runs["vanilla"], *args)
    assert status == 2
    assert out == ""
    assert err.startswith("daezoo: error: ")
    assert len(err.splitlines()) == 1
    assert args[-1].removeprefix("--data=") in err
    assert "Traceback" not in err


@pytest.mark.parametrize("target", ["gone", "gone.ckpt", "."])
def test_a_target_that_is_none_is_an_error_that_says_it(target, daezoo_command):
    status, out, err = daezoo_command("probe", target)
    assert (status, out) == (2, "")
    assert err.startswith("daezoo: error: ")
    assert target in err
    assert len(err.splitlines()) == 1


def test_the_runs_own_data_named_again_gives_the_same_numbers(still_runs):
    own, named = (judge(opened(still_runs["vanilla"], *options)) for options in ([], ["--data=digits"]))
    assert own == named


# what is opened


def test_a_run_and_its_checkpoint_are_the_same_target(noises_run):
    for name in (noises_run, f"{noises_run}/checkpoints/last.ckpt"):
        target = opened(name)
        assert target.name == name
        assert str(target.path) == f"{noises_run}/checkpoints/last.ckpt"
        assert str(target.run) == noises_run
        assert target.data_name == "digits"
        assert not target.model.training
        wanted = load(noises_run).state_dict()
        assert all(torch.equal(weight, wanted[key]) for key, weight in target.model.state_dict().items())


def test_a_checkpoint_that_is_in_no_run_has_no_run_folder(tmp_path):
    assert opened(normed(tmp_path), *vectors(tmp_path / "v.npz")).run is None


def test_a_checkpoint_that_does_not_say_its_data_needs_to_be_told(tmp_path, daezoo_command):
    status, _, err = daezoo_command("probe", normed(tmp_path))
    assert status == 2
    assert "--data" in err
    assert len(err.splitlines()) == 1


def test_the_runs_own_data_keeps_its_noise(noises_run):
    data = opened(noises_run).data
    assert (data.corruption, data.evaluation_corruption) == (Gaussian(0.3), Masking(0.6))


def test_other_data_inherits_the_runs_noise(noises_run):
    data = opened(noises_run, "--data", "digits", "--data.split_seed", "5").data
    assert data.split_seed == 5
    assert (data.corruption, data.evaluation_corruption) == (Gaussian(0.3), Masking(0.6))


def test_noise_that_is_given_is_not_inherited(noises_run):
    data = opened(noises_run, "--data", "digits", "--data.corruption", "Masking", "--data.corruption.ratio", "0.1").data
    assert (data.corruption, data.evaluation_corruption) == (Masking(0.1), Masking(0.1))


def test_evaluation_noise_that_is_given_alone_is_not_inherited(noises_run):
    given = ["--data.evaluation_corruption", "Gaussian", "--data.evaluation_corruption.sigma", "0.7"]
    data = opened(noises_run, "--data", "digits", *given).data
    assert data.evaluation_corruption == Gaussian(0.7)
    assert data.corruption == Gaussian(0.3)


def test_the_invariance_is_to_the_noise_of_the_evaluation(noises_run, pictures):
    for options, noise in (([], "Masking"), (["--data.corruption", "Gaussian"], "Gaussian")):
        target = opened(noises_run, "--data", "arrays", "--data.path", pictures, *options)
        assert judge(target)["layers"][0]["codes"]["corruption"] == noise


@pytest.fixture
def moved_run(pictures, tmp_path):
    """A run whose data is no longer where it was."""
    old = tmp_path / "old.npz"
    shutil.copy(pictures, old)
    run = train(
        "vanilla",
        "arrays",
        tmp_path,
        "--data.path",
        str(old),
        "--data.corruption",
        "Masking",
        "--data.corruption.ratio",
        "0.4",
    )
    old.unlink()
    return run


def test_data_that_moved_is_found_by_root_and_other_data_needs_it_not(moved_run, pictures, daezoo_command):
    status, _, err = daezoo_command("probe", moved_run)
    assert status == 2
    assert "old.npz" in err
    assert "--root" in err
    status, out, err = daezoo_command("probe", moved_run, "--root", pictures, "--json")
    assert status == 0, err
    assert json.loads(out)["data"] == "ArraysData"
    status, _, err = daezoo_command("probe", moved_run, "--root", pictures, "--data", "digits")
    assert status == 2
    assert "--data" in err
    target = opened(moved_run, "--data", "digits")
    assert type(target.data) is DigitsData
    assert target.data.corruption == Masking(0.4)
    assert target.data_name == "digits"


def test_a_run_on_whitened_data_is_judged_on_whitened_data_alone(tmp_path, still_runs):
    whitened = train("conv", "digits", tmp_path, "--data.whiten", "true", "--model.batch_norm", "true")
    known = {}
    own = judge(opened(whitened), known=known)
    plain = judge(opened(still_runs["conv"]), known=known)
    assert (own["data_arguments"]["whiten"], plain["data_arguments"]["whiten"]) == (True, False)
    assert own["raw_pixels"] != plain["raw_pixels"] == judge(opened(still_runs["conv"]))["raw_pixels"]
    assert judge(opened(whitened, "--data", "digits", "--data.whiten", "true"))["accuracy"] == own["accuracy"]
    with pytest.raises(ValueError, match=r"images that were whitened. Pass --data.whiten true with --data"):
        opened(whitened, "--data", "digits")
    with pytest.raises(ValueError, match=r"images that were not whitened. Pass --data.whiten false with --data"):
        opened(still_runs["conv"], "--data", "digits", "--data.whiten", "true")
