"""daezoo finetune, through the command line."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from conftest import fit_arguments
from daezoo.classifiers import load_classifier
from daezoo.cli import main
from daezoo.data import DigitsData
from daezoo.evaluation.features import numbered_classes
from daezoo.finetuning import few_labels

TINY = ("--model.hidden", "[32]", "--trainer.max_epochs", "1", "--name", "it")
RUN = "runs/vanilla-digits/it"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a tiny run."""
    folder = tmp_path_factory.mktemp("pretrained") / "runs"
    assert main(fit_arguments("vanilla", "digits", *TINY, "--runs", str(folder))) == 0
    return folder


@pytest.fixture
def tuned(daezoo_command, workplace, runs):
    """Fine-tune a tiny run; status, stdout, stderr."""
    shutil.copytree(runs, workplace / "runs")

    def run(*args: str) -> tuple[int, str, str]:
        return daezoo_command("finetune", RUN, "--max_epochs", "3", "--batch_size", "32", *args)

    return run


def test_it_trains_both_networks_and_keeps_them(tuned, workplace):
    status, out, err = tuned("--json", "--name", "tuned")
    assert status == 0, err
    summary = json.loads(out)
    folder = workplace / "runs/finetune-vanilla-digits/tuned"
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["samples"] == {"train": 1257, "valid": 180, "test": 360}
    for name in ("pretrained", "scratch"):
        one = summary[name]
        assert one["error"] == 1 - one["accuracy"]
        assert 0 <= one["interval"][0] < one["accuracy"] < one["interval"][1] <= 1
        classifier = load_classifier(folder / name / "checkpoints" / "best.ckpt")
        data = DigitsData()
        data.setup()
        test = data.splits["test"].__getitems__(torch.arange(360))
        assert float((classifier.predict(test.clean) == test.label).double().mean()) == one["accuracy"]
        x = test.clean
        assert torch.equal(load_classifier(folder / name).predict(x), classifier.predict(x))
        with open(folder / name / "metrics.csv") as file:
            rows = list(csv.DictReader(file))
        best = max(float(row["val/accuracy"]) for row in rows if row["val/accuracy"])
        assert best == pytest.approx(one["valid_accuracy"])
    assert summary["pretrained"]["accuracy"] != summary["scratch"]["accuracy"]
    assert not list(folder.glob("**/last.ckpt"))  # which noise-grid would take for a run


def test_the_table_names_protocol_interval_and_baseline(tuned):
    status, out, err = tuned()
    assert status == 0, err
    assert "finetune-v1" in out
    assert "not pretrained" in out
    assert "95 % interval" in out


def test_the_run_it_starts_from_stays_as_it_is(tuned, workplace):
    before = {path: path.read_bytes() for path in (workplace / RUN).glob("**/*") if path.is_file()}
    status, _, err = tuned("--scratch", "false")
    assert status == 0, err
    assert before == {path: path.read_bytes() for path in (workplace / RUN).glob("**/*") if path.is_file()}
    assert not (workplace / "runs/finetune-vanilla-digits/1/scratch").exists()


def test_the_same_command_gives_the_same_numbers(tuned, daezoo_command):
    options = ("--json", "--dropout", "0.5", "--corruption", "Masking", "--scratch", "false")
    first = json.loads(tuned(*options)[1])
    second = json.loads(daezoo_command("finetune", RUN, "--max_epochs", "3", "--batch_size", "32", *options)[1])
    assert first["pretrained"]["seconds"] > 0
    assert {**first["pretrained"], "seconds": 0} == {**second["pretrained"], "seconds": 0}


def test_few_labels_are_as_many_of_each_class_and_fixed_by_the_seed():
    picked = []
    for seed in (0, 0, 1):
        data = DigitsData(seed=seed)
        data.setup()
        few_labels(data, numbered_classes(data)[1], 3)
        labels = {name: data.splits[name].__getitems__(torch.arange(30)).label for name in ("train", "valid")}
        assert all(len(data.splits[name]) == 30 for name in labels)
        assert all((values.bincount() == 3).all() for values in labels.values())
        picked.append(data.splits["train"].__getitems__(torch.arange(30)).clean)
    assert torch.equal(picked[0], picked[1])
    assert not torch.equal(picked[0], picked[2])


def test_ten_labels_per_class_on_the_command_line(tuned):
    status, out, err = tuned("--labels-per-class", "10", "--json", "--scratch", "false")
    assert status == 0, err
    assert json.loads(out)["samples"] == {"train": 100, "valid": 100, "test": 360}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--labels-per-class", "0"), "must lie between 1 and"),
        (("--labels-per-class", "9999"), "got 9999"),
        (("--dropout", "1.5"), "dropout must lie in [0, 1), got 1.5"),
        (("--data", "mnist"), "MNIST"),
        (("--data", "nowhere"), "nowhere"),
        (("--max_epochs", "0"), "max_epochs"),
        (("--patience", "0"), "patience"),
        (("--name", "../up"), "plain folder name"),
        (("--seed", "-1"), "the seed at least 0"),
        (("--lr", "-1"), "lr > 0"),
        (("--label_smoothing", "2"), "label_smoothing"),
        (("--precision", "foo"), "precision"),
        (("--batch_size", "0"), "batch_size must be at least 1, got 0"),
        (("--device", "nonsense"), "--device nonsense cannot be used"),
    ],
)
def test_errors_of_use_come_before_anything_trains(tuned, workplace, options, said, monkeypatch):
    monkeypatch.setattr("daezoo.data.MNISTData.source.mirrors", ["http://127.0.0.1:9/"])
    status, _, err = tuned(*options)
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert not list(workplace.glob("runs/finetune-*/*"))


def test_unlabelled_data_is_refused(tuned, workplace):
    images = np.random.default_rng(0).random((60, 8, 8)).astype(np.float32)
    np.savez(workplace / "bare.npz", train_images=images, test_images=images)
    status, _, err = tuned("--data", "arrays", "--data.path", "bare.npz")
    assert status == 2
    assert "label" in err
    assert not (workplace / "runs/finetune-vanilla-arrays").exists()


def test_a_fine_tuned_classifier_is_not_taken_for_a_denoiser_or_resumed(tuned, daezoo_command):
    assert tuned("--scratch", "false", "--name", "it")[0] == 0
    folder = "runs/finetune-vanilla-digits/it"
    status, _, err = daezoo_command("probe", f"{folder}/pretrained/checkpoints/best.ckpt")
    assert status == 2
    assert "is a classifier" in err
    status, _, err = daezoo_command("fit", "--resume", folder)
    assert status == 2
    assert "is no run of daezoo fit" in err
    status, _, err = daezoo_command("finetune", RUN, "--name", "it")
    assert status == 2
    assert "or delete it" in err


def test_weights_that_are_not_finite_are_refused(tuned, daezoo_command, workplace):
    assert tuned("--scratch", "false", "--name", "it")[0] == 0
    path = workplace / RUN / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["network.layers.0.weight"][0, 0] = float("nan")
    torch.save(checkpoint, path)
    status, _, err = daezoo_command("finetune", RUN, "--name", "other")
    assert status == 2
    assert "not all finite" in err
    assert not (workplace / "runs/finetune-vanilla-digits/other").exists()


def test_an_interrupted_training_ends_with_130_and_without_a_summary(tuned, workplace, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("daezoo.classifiers.FineTuned.training_step", interrupt)
    status, _, err = tuned("--name", "it")
    assert status == 130
    assert "is not finished" in err
    assert not (workplace / "runs/finetune-vanilla-digits/it/summary.json").exists()


def test_only_the_lower_layers_of_a_stack(daezoo_command, workplace):
    short = ("--model.hidden", "[16,12,8]", "--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "0")
    status, _, err = daezoo_command(*fit_arguments("stacked", "digits", *short, "--name", "it"))
    assert status == 0, err
    args = ("finetune", "runs/stacked-digits/it", "--max_epochs", "1", "--json")
    status, out, err = daezoo_command(*args, "--layers", "2", "--pretrained", "false")
    assert status == 0, err
    summary = json.loads(out)
    assert "scratch" in summary and "pretrained" not in summary
    classifier = load_classifier(workplace / "runs/finetune-stacked-digits/1/scratch")
    assert [len(layer.weight) for layer in classifier.encoder.network.layers] == [16, 12]
    for options, said in (
        (("--layers", "4"), "layers must lie between 1 and 3, got 4"),
        (("--pretrained", "false", "--scratch", "false"), "leave nothing to train"),
    ):
        status, _, err = daezoo_command(*args, *options)
        assert status == 2
        assert said in err
    assert not (workplace / "runs/finetune-stacked-digits/2").exists()


def test_layers_of_what_is_no_stack_are_an_error(tuned, workplace):
    status, _, err = tuned("--layers", "1")
    assert status == 2
    assert "--layers is for stacked models, not for a VanillaDAE" in err
    assert not (workplace / "runs/finetune-vanilla-digits").exists()


def test_plain_sgd_at_a_constant_rate(tuned, workplace):
    plain = ("--optimizer", "SGD", "--lr", "0.1", "--schedule", "constant", "--weight_decay", "0")
    status, out, err = tuned(*plain, "--corruption", "Clean", "--dropout", "0", "--scratch", "false", "--json")
    assert status == 0, err
    assert json.loads(out)["pretrained"]["error"] < 0.85
    config = (workplace / "runs/finetune-vanilla-digits/1/config.yaml").read_text()
    assert config.startswith("# daezoo finetune runs/vanilla-digits/it --max_epochs 3")


def test_adversarial_inputs_train_another_network(tuned, daezoo_command):
    options = ("--json", "--dropout", "0", "--scratch", "false")
    usual = json.loads(tuned(*options)[1])["pretrained"]
    again = ("finetune", RUN, "--max_epochs", "3", "--batch_size", "32", *options)
    moved = json.loads(daezoo_command(*again, "--adversarial", "0.5")[1])["pretrained"]
    assert {**usual, "seconds": 0} != {**moved, "seconds": 0}
    status, _, err = daezoo_command(*again, "--adversarial", "-1")
    assert status == 2
    assert "adversarial must be finite and at least 0, got -1" in err
