import json
import shutil
from contextlib import redirect_stdout
from io import StringIO
from math import sqrt
from unittest.mock import patch

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from conftest import fit_arguments, whole
from daezoo.cli import main
from daezoo.data import DigitsData
from daezoo.evaluation.logreg import logistic_regression
from daezoo.evaluation.probe import STRENGTHS, Part, accuracy_of, interval, linear_probe
from daezoo.zoo.loading import load

TINY = {
    "vanilla": ["--model.hidden", "[16]", "--model.activation", "sigmoid"],
    "stacked": ["--model.hidden", "[16,12,8]", "--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "0"],
    "conv": ["--model.channels", "[4,6]", "--model.code", "8"],
    "residual": ["--model.network.widths", "[6,8]"],
}
Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def train(model, folder):
    """A tiny run on the digits."""
    epochs = [] if model == "stacked" else ["--trainer.max_epochs", "1"]
    limits = [*epochs, "--trainer.limit_train_batches", "5", "--trainer.precision", "32-true"]
    with redirect_stdout(StringIO()), patch("daezoo.figures.save_all", return_value=[]):  # pictures take long
        assert main(fit_arguments(model, "digits", *TINY[model], *limits, "--runs", str(folder))) == 0
    return str(folder / f"{model}-digits" / "1")


def probe(*args):
    """The JSON that `daezoo probe` prints."""
    with redirect_stdout(StringIO()) as out:
        assert main(["probe", *args, "--json", "--device", "cpu"]) == 0
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {model: train(model, folder) for model in TINY}


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Options that name 300 of the digits, which are probed faster than all of them."""
    path, digits = tmp_path_factory.mktemp("data") / "little.npz", load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    arrays = {"train_images": images[:200], "train_labels": labels[:200]}
    np.savez(path, test_images=images[200:300], test_labels=labels[200:300], **arrays)
    return ["--data", "arrays", "--data.path", str(path), "--device", "cpu"]


@pytest.fixture(scope="module")
def results(runs, little):
    """What a probe of all layers of every run gives."""
    return {model: probe(run, *little, "--layer", "all") for model, run in runs.items()}


@pytest.fixture(scope="module")
def vanilla(runs):
    """What a probe of the vanilla run gives on the digits it was trained on."""
    return probe(runs["vanilla"])


def part(features, labels):
    return Part(torch.as_tensor(np.asarray(features), dtype=torch.float32), torch.as_tensor(labels))


def overlapping(samples, seed, classes=4, features=6):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    means = np.random.default_rng(99).standard_normal((classes, features))
    return part(means[labels] + draw.standard_normal((samples, features)), labels)


def three(classes=4):
    return [overlapping(samples, seed, classes) for seed, samples in enumerate((300, 100, 150))]


# hand-made features whose best linear accuracy is known


def groups(shares, each):
    """One-hot features: in group g, class g has this share of the samples and the next class the rest."""
    rows, labels = [], []
    for number, share in enumerate(shares):
        mine = round(share * each)
        rows += [np.eye(len(shares))[number]] * each
        labels += [number] * mine + [(number + 1) % len(shares)] * (each - mine)
    return part(np.stack(rows), labels)


@pytest.mark.parametrize("shares", [(0.8, 0.7), (1.0, 0.9, 0.6), (0.9,) * 12])
def test_of_groups_with_mixed_labels_the_majority_is_right(shares):
    got = linear_probe(*(groups(shares, each) for each in (100, 20, 50)), len(shares))
    assert got.accuracy == pytest.approx(np.mean(shares))


def test_separable_classes_are_separated():
    parts = [part(np.eye(5)[np.arange(samples) % 5], np.arange(samples) % 5) for samples in (50, 20, 30)]
    got = linear_probe(*parts, 5)
    assert got.accuracy == got.valid_accuracy == 1
    assert got.interval[1] == 1


def test_two_gaussians_two_apart_reach_the_best_classifiers_accuracy():
    def gaussians(samples, seed):
        labels = np.arange(samples) % 2
        x = np.random.default_rng(seed).standard_normal((samples, 3))
        return part(x + np.outer(labels, [2, 0, 0]), labels)

    got = linear_probe(gaussians(4000, 0), gaussians(1000, 1), gaussians(10_000, 2), 2)
    best = 0.841345  # Φ(1)
    assert got.accuracy == pytest.approx(best, abs=3 * sqrt(best * (1 - best) / 10_000))


def test_labels_that_have_nothing_to_do_with_the_features_are_guessed():
    draw = np.random.default_rng(0)
    parts = [part(draw.standard_normal((size, 4)), draw.integers(0, 4, size)) for size in (400, 100, 2000)]
    assert linear_probe(*parts, 4).accuracy == pytest.approx(0.25, abs=3 * sqrt(0.25 * 0.75 / 2000))


def test_what_no_line_separates_is_not_learned():
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    parts = [part(np.tile(corners, (count, 1)), np.tile([0, 1, 1, 0], count)) for count in (50, 10, 20)]
    assert linear_probe(*parts, 2).accuracy <= 0.75


# the protocol


def test_the_strength_is_the_best_on_validation_and_of_equals_the_strongest():
    fitted, held_out, test = three()
    got = linear_probe(fitted, held_out, test, 4)
    mean, scale = fitted.features.mean(0), fitted.features.std(0, correction=0)
    accuracies = {}
    for strength in STRENGTHS:
        model = logistic_regression((fitted.features - mean) / scale, fitted.labels, 4, strength)
        accuracies[strength] = accuracy_of(model.predict((held_out.features - mean) / scale), held_out.labels)[0]
    assert got.valid_accuracy == pytest.approx(max(accuracies.values()), abs=0.011)
    assert got.strength in STRENGTHS
    assert accuracies[got.strength] == pytest.approx(got.valid_accuracy, abs=0.011)
    easy = [part(np.eye(3)[np.arange(size) % 3], np.arange(size) % 3) for size in (60, 30, 30)]
    assert linear_probe(*easy, 3).strength == max(STRENGTHS)


def test_it_is_standardised_on_the_training_split_and_refitted_on_training_and_validation():
    fitted, held_out, test = three()
    got = linear_probe(fitted, held_out, test, 4)
    x = fitted.features.double()
    assert torch.allclose(got.mean.double(), x.mean(0), atol=1e-5)
    assert torch.allclose(got.scale.double(), x.std(0, correction=0), atol=1e-5)
    both = (torch.cat([fitted.features, held_out.features]) - got.mean) / got.scale
    labels = torch.cat([fitted.labels, held_out.labels])
    reference = LogisticRegression(C=1 / (got.strength * len(both)), tol=1e-9, max_iter=10_000).fit(both, labels)
    logs = torch.from_numpy(reference.predict_log_proba(both.double().numpy()))
    best = -logs[torch.arange(len(labels)), labels].mean() + got.strength / 2 * np.square(reference.coef_).sum()
    assert got.classifier.loss == pytest.approx(best.item(), abs=1e-4)
    expected = (reference.predict((test.features - got.mean) / got.scale) == test.labels.numpy()).mean()
    assert got.accuracy == pytest.approx(expected, abs=1.01 / 150)


def test_the_test_split_decides_nothing():
    fitted, held_out, test = three()
    got = linear_probe(fitted, held_out, test, 4)
    other = linear_probe(fitted, held_out, Part(test.features * 5 + 1, test.labels.flip(0)), 4)
    assert other.strength == got.strength
    assert torch.equal(other.classifier.weight, got.classifier.weight)
    assert torch.equal(other.mean, got.mean)


def test_a_probe_predicts_what_it_was_measured_on():
    fitted, held_out, test = three()
    got = linear_probe(fitted, held_out, test, 4)
    assert (got.predict(test.features) == test.labels).double().mean().item() == pytest.approx(got.accuracy)


@pytest.mark.parametrize("scale", [2.0**-10, 0.25, 1024.0])
def test_scaling_the_features_changes_nothing(scale):
    fitted, held_out, test = three()
    factors = torch.tensor([scale, 1.0, 2.0, scale, 0.5, 1.0])
    plain = linear_probe(fitted, held_out, test, 4)
    scaled = linear_probe(*(Part(one.features * factors, one.labels) for one in (fitted, held_out, test)), 4)
    assert scaled.accuracy == plain.accuracy
    assert scaled.valid_accuracy == plain.valid_accuracy
    assert scaled.strength == plain.strength


def test_shifting_and_turning_features_round_changes_nothing_but_rounding():
    fitted, held_out, test = three()
    shift = torch.tensor([3.0, -2.0, 10.0, 0.0, 1.0, -4.0])
    plain = linear_probe(fitted, held_out, test, 4)
    for change in (lambda x: x + shift, lambda x: -x, lambda x: x.flip(1), lambda x: 0.3 * x - 7):
        changed = linear_probe(*(Part(change(one.features), one.labels) for one in (fitted, held_out, test)), 4)
        assert changed.accuracy == pytest.approx(plain.accuracy, abs=1.01 / 150)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e4, 1e-9])
def test_columns_that_do_not_vary_change_nothing(value):
    fitted, held_out, test = three()
    plain = linear_probe(fitted, held_out, test, 4)
    wider = [Part(torch.nn.functional.pad(one.features, (0, 3), value=value), one.labels) for one in three()]
    got = linear_probe(*wider, 4)
    assert got.classifier.weight.isfinite().all()
    assert got.classifier.weight[-3:].abs().max() < 1e-3
    assert got.accuracy == pytest.approx(plain.accuracy, abs=1.01 / 150)


def test_more_features_than_samples_are_no_trouble():
    parts = [overlapping(size, seed, 3, 200) for seed, size in enumerate((30, 15, 60))]
    assert linear_probe(*parts, 3).accuracy > 0.9


def test_the_same_problem_twice_gives_the_same_digits():
    first, second = linear_probe(*three(), 4), linear_probe(*three(), 4)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    assert first[:4] == second[:4]


def test_a_class_that_only_the_test_split_has_is_counted_as_an_error():
    fitted, held_out, test = three()
    labels = test.labels.clone()
    labels[:30] = -1
    plain = linear_probe(fitted, held_out, test, 4)
    right = (plain.predict(test.features) == labels).sum().item()
    got = linear_probe(fitted, held_out, Part(test.features, labels), 4)
    assert got.accuracy == pytest.approx(right / 150)
    assert got.accuracy < plain.accuracy


def test_a_class_that_only_the_validation_split_has_is_counted_as_an_error_and_not_learned():
    fitted, held_out, test = three()
    labels = held_out.labels.clone()
    labels[:20] = -1
    got = linear_probe(fitted, Part(held_out.features, labels), test, 4)
    assert got.valid_accuracy <= 0.8
    assert got.classifier.weight.shape == (6, 4)
    assert 0.25 < got.accuracy <= 1


# intervals


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (8, 10, 0.49016, 0.94332),
        (5, 10, 0.23659, 0.76341),
        (90, 100, 0.82563, 0.94477),
    ],
)
def test_the_interval_is_wilsons(correct, total, low, high):
    share = correct / total
    middle = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    assert interval(correct, total) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert interval(correct, total) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize("total", [1, 10, 360, 10_000])
def test_the_interval_of_none_and_of_all_ends_there(total):
    edge = Z**2 / (total + Z**2)
    assert interval(0, total)[0] == 0
    assert interval(0, total)[1] == pytest.approx(edge)
    assert interval(total, total)[0] == pytest.approx(1 - edge)
    assert interval(total, total)[1] == 1


def test_accuracy_is_the_share_of_labels_that_are_met():
    predicted, labels = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([0, 1, 1, -1, 1])
    assert accuracy_of(predicted, labels) == (3 / 5, interval(3, 5))


# the command


@pytest.mark.parametrize("model", TINY)
def test_the_json_has_what_was_promised_as_fractions(model, results):
    got = results[model]
    low, high = got["interval"]
    assert 0 <= low <= got["accuracy"] <= high <= 1
    assert [low, high] == pytest.approx(interval(round(got["accuracy"] * 100), 100))
    for name in ("raw_pixels", "untrained", "knn"):
        assert 0 <= got[name] <= 1
        assert got[name] * 100 == pytest.approx(round(got[name] * 100))
    assert got["raw_pixels"] > 0.7
    assert got["protocol"].startswith("logreg-v1")
    for layer in got["layers"]:
        assert {"accuracy", "interval", "untrained", "knn", "protocol", "codes"} <= layer.keys()
        assert {"mean_activation", "dead", "saturated", "effective_rank", "invariance"} <= layer["codes"].keys()


def test_raw_pixels_do_not_depend_on_the_model(results):
    assert len({got["raw_pixels"] for got in results.values()}) == 1


def test_the_numbers_are_those_of_scikit_learn_on_the_codes(runs, vanilla):
    model, data = load(runs["vanilla"]), DigitsData()
    data.setup()
    with torch.no_grad():
        x = {name: model.encode(whole(split).clean).double().numpy() for name, split in data.splits.items()}
    y = {name: whole(split).label.numpy() for name, split in data.splits.items()}
    strength = vanilla["layers"][0]["strength"]
    mean, scale = x["train"].mean(0), x["train"].std(0)
    known, labels = np.concatenate([x["train"], x["valid"]]), np.concatenate([y["train"], y["valid"]])
    linear = LogisticRegression(C=1 / (strength * len(known)), tol=1e-8, max_iter=100_000)
    linear.fit((known - mean) / scale, labels)
    expected = linear.score((x["test"] - mean) / scale, y["test"])
    assert vanilla["accuracy"] == pytest.approx(expected, abs=1.01 / 360)
    knn = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(known, labels)
    assert vanilla["knn"] == pytest.approx(knn.score(x["test"], y["test"]), abs=1.01 / 360)
    assert vanilla["k"] == 20


def test_the_same_command_twice_prints_the_same(daezoo_command, runs, little):
    first, second = (daezoo_command("probe", runs["stacked"], *little, "--json") for _ in range(2))
    assert first[0] == 0, first[2]
    assert second == first


def test_the_batch_size_does_not_change_a_digit(runs, little, results):
    for model in ("vanilla", "conv", "residual"):
        assert probe(runs[model], *little, "--layer", "all", "--batch_size", "7") == results[model]


def test_the_batch_size_may_exceed_the_data(daezoo_command, runs, little, results):
    options = [*little, "--batch_size", "5000", "--json"]
    status, out, err = daezoo_command("probe", runs["vanilla"], *options)
    assert status == 0, err
    assert json.loads(out) == results["vanilla"]


def test_other_neighbours_change_the_neighbours_only(runs, little, results):
    one = probe(runs["vanilla"], *little, "--k", "1")
    assert one["k"] == 1
    changed = {name for name in one if one[name] != results["vanilla"][name]}
    assert changed == {"k", "knn", "layers"}


def test_all_layers_of_a_stack_are_probed_and_the_last_is_the_answer(results):
    got = results["stacked"]
    assert [layer["layer"] for layer in got["layers"]] == [1, 2, 3]
    assert [layer["features"] for layer in got["layers"]] == [16, 12, 8]
    assert {layer["protocol"] for layer in got["layers"]} == {"logreg-v1"}
    assert got["accuracy"] == got["layers"][-1]["accuracy"]
    assert got["interval"] == got["layers"][-1]["interval"]
    assert got["knn"] == got["layers"][-1]["knn"]
    assert got["untrained"] == got["layers"][-1]["untrained"]


@pytest.mark.parametrize(("options", "place"), [(["--layer", "2"], 1), (["--layer", "last"], 2), ([], 2)])
def test_one_layer_of_a_stack_has_the_numbers_it_has_among_all(options, place, runs, little, results):
    got = probe(runs["stacked"], *little, *options)
    assert got["layers"] == [results["stacked"]["layers"][place]]
    assert got["accuracy"] == results["stacked"]["layers"][place]["accuracy"]


def test_pooling_is_part_of_the_protocols_name(results):
    protocols = {model: [layer["protocol"] for layer in got["layers"]] for model, got in results.items()}
    assert protocols["conv"] == ["logreg-v1-avg4x4", "logreg-v1-avg4x4", "logreg-v1"]
    assert protocols["residual"] == ["logreg-v1-avg1x1"]
    assert protocols["vanilla"] == ["logreg-v1"]
    for got in results.values():
        assert got["protocol"] == got["layers"][-1]["protocol"]


def test_saturation_is_told_of_logistic_units_only(results):
    assert 0 <= results["vanilla"]["layers"][0]["codes"]["saturated"] <= 1
    for model in ("stacked", "conv", "residual"):
        assert all(layer["codes"]["saturated"] is None for layer in results[model]["layers"])


def test_the_table_has_the_accuracies_beside_each_other(daezoo_command, runs, little, results):
    status, out, err = daezoo_command("probe", runs["vanilla"], *little)
    vanilla = results["vanilla"]
    assert status == 0, err
    low, high = (f"{100 * bound:.2f}" for bound in vanilla["interval"])
    (line,) = [line for line in out.splitlines() if f"{low} to {high}" in line and "codes, logreg-v1" in line]
    assert f"{100 * vanilla['accuracy']:.2f}" in line
    for name, words in {"raw_pixels": "raw pixels", "untrained": "before training", "knn": "kNN"}.items():
        (line,) = [line for line in out.splitlines() if words in line]
        assert f"{100 * vanilla[name]:.2f}" in line
    assert "k=20" in out
    assert "effective rank" in out
    assert "dead" in out
    assert "saturated" in out


def test_the_table_of_several_layers_has_all_of_them(daezoo_command, runs, little, results):
    _, out, _ = daezoo_command("probe", runs["conv"], *little, "--layer", "all")
    for layer in results["conv"]["layers"]:
        assert f"{100 * layer['accuracy']:.2f}" in out
        assert layer["protocol"] in out


def test_the_json_is_kept_in_the_run_folder(daezoo_command, workplace, runs, little):
    shutil.copytree(runs["vanilla"], "run", ignore=shutil.ignore_patterns("probe-*"))
    for target, options in (("run", []), ("run/checkpoints/last.ckpt", ["--layer", "1"])):
        before = set(workplace.rglob("*.json"))
        status, out, err = daezoo_command("probe", target, *little, "--json", *options)
        assert (status, err) == (0, "")
        (kept,) = set(workplace.rglob("*.json")) - before
        assert kept.parent == workplace / "run"
        assert json.loads(kept.read_text()) == json.loads(out)
    # a table leaves the same file
    kept.unlink()
    assert daezoo_command("probe", "run/checkpoints/last.ckpt", *little, "--layer", "1")[0] == 0
    assert json.loads(kept.read_text()) == json.loads(out)


def test_beside_a_checkpoint_that_is_in_no_run_nothing_is_written(daezoo_command, workplace, runs, little):
    shutil.copy(f"{runs['vanilla']}/checkpoints/last.ckpt", "lonely.ckpt")
    status, out, err = daezoo_command("probe", "lonely.ckpt", *little, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["accuracy"] > 0
    assert [path.name for path in workplace.rglob("*")] == ["lonely.ckpt"]


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_run_folder_that_cannot_be_written_to_still_prints(
    options, daezoo_command, monkeypatch, runs, little, results
):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # chmod does not stop root, who runs the tests in containers
    monkeypatch.setattr("daezoo.files.open", refuse, raising=False)
    status, out, err = daezoo_command("probe", runs["vanilla"], *little, "--layer", "all", *options)
    assert status == 0
    assert "Permission denied" in err
    assert runs["vanilla"] in err
    assert "Traceback" not in err
    if options:
        assert json.loads(out) == results["vanilla"]
    else:
        assert f"{100 * results['vanilla']['accuracy']:.2f}" in out


# the user's own problems


def arrays(name, train, test, width=3, **others):
    """An .npz file with vectors that tell the classes apart, and the command line that names it."""
    names = sorted({*train, *test})
    draw = np.random.default_rng(0)
    images = {}
    for split, labels in (("train", train), ("test", test)):
        hot = np.eye(max(width, len(names)))[[names.index(label) for label in labels]]
        images[f"{split}_images"] = 0.8 * hot + 0.1 * draw.random(hot.shape)
        images[f"{split}_labels"] = np.array(labels)
    np.savez(name, **(images | others))
    return ["--data", "arrays", "--data.path", name]


def vector_run(folder, width):
    """A checkpoint of an untrained model of vectors."""
    from daezoo.models import VanillaDAE

    torch.manual_seed(0)
    model = VanillaDAE([width], hidden=[8])
    hyperparameters = {key: value for key, value in model.hparams.items() if key != "_instantiator"}
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": hyperparameters}, folder / "vectors.ckpt")
    return "vectors.ckpt"


def test_labels_may_be_any_numbers(daezoo_command, workplace):
    results = []
    for name, (a, b, c) in {"plain": (0, 1, 2), "odd": (3, 7, 100)}.items():
        options = arrays(f"{name}.npz", [a, b, c] * 60, [a, b, b, c] * 10)
        status, out, err = daezoo_command("probe", vector_run(workplace, 3), *options, "--batch_size", "32", "--json")
        assert status == 0, err
        results.append(
            {key: value for key, value in json.loads(out).items() if key not in ("target", "data_arguments")}
        )
    assert results[0] == results[1]
    assert results[1]["classes"] == 3
    assert results[1]["accuracy"] == results[1]["knn"] == results[1]["raw_pixels"] == 1


def test_a_class_that_occurs_only_in_the_test_split_counts_as_errors(daezoo_command, workplace):
    options = arrays("new.npz", [0, 1, 2] * 60, [0, 1, 2, 9] * 10, width=4)
    status, out, err = daezoo_command("probe", vector_run(workplace, 4), *options, "--batch_size", "32", "--json")
    assert status == 0, err
    got = json.loads(out)
    assert got["classes"] == 3
    assert got["accuracy"] == got["knn"] == got["raw_pixels"] == 0.75
    assert got["interval"] == pytest.approx(interval(30, 40))


def lonely_class(size):
    """Labels of which one is a class of its own, of a sample that lands in the validation split."""
    from daezoo.randomness import generator

    labels = [row % 2 for row in range(size)]
    labels[torch.randperm(size, generator=generator(0, "split"))[-1]] = 2
    return labels


def test_a_class_that_occurs_only_in_the_validation_split_is_no_trouble(daezoo_command, workplace):
    options = [*arrays("rare.npz", lonely_class(100), [0, 1] * 10), "--batch_size", "32", "--json"]
    status, out, err = daezoo_command("probe", vector_run(workplace, 3), *options)
    assert status == 0, err
    assert json.loads(out)["classes"] == 2
    assert json.loads(out)["accuracy"] == 1
    # a hundred samples are known, but the one of an unknown class can be no neighbour
    says(*daezoo_command("probe", vector_run(workplace, 3), *options, "--k", "100"), ["k ", "100"])
    status, out, err = daezoo_command("probe", vector_run(workplace, 3), *options, "--k", "99")
    assert status == 0, err
    assert json.loads(out)["k"] == 99


def test_two_and_twelve_classes(daezoo_command, workplace):
    for classes in (2, 12):
        options = arrays(f"{classes}.npz", list(range(classes)) * 20, list(range(classes)) * 3, width=12)
        status, out, err = daezoo_command("probe", vector_run(workplace, 12), *options, "--batch_size", "8", "--json")
        assert status == 0, err
        assert json.loads(out)["classes"] == classes
        assert json.loads(out)["raw_pixels"] == 1


def test_data_smaller_than_a_batch_can_be_probed(daezoo_command, workplace):
    status, out, err = daezoo_command(
        "probe", vector_run(workplace, 3), *arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--json"
    )
    assert status == 0, err
    assert json.loads(out)["raw_pixels"] == 1


# what is wrong: the data, other options, and what the error must say
WRONG = {
    "one class only": (lambda: arrays("one.npz", [5] * 60, [5] * 10), ["class"]),
    "one class in training": (lambda: arrays("one.npz", [5] * 60, [5, 6] * 10), ["class"]),
    "no labels": (
        lambda: (
            np.savez("bare.npz", train_images=np.eye(3), test_images=np.eye(3))
            or ["--data", "arrays", "--data.path", "bare.npz"]
        ),
        ["label"],
    ),
    "no test labels": (
        lambda: (
            np.savez("half.npz", train_images=np.eye(3), test_images=np.eye(3), train_labels=np.arange(3))
            or ["--data", "arrays", "--data.path", "half.npz"]
        ),
        ["label"],
    ),
    "fewer samples than neighbours": (lambda: arrays("few.npz", [0, 1] * 7, [0, 1] * 5), ["14", "20", "k "]),
    "no neighbours": (lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--k", "0"], ["k ", "0"]),
    "fewer than no neighbours": (lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--k", "-3"], ["k"]),
    "neighbours that are no number": (lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--k", "all"], ["k"]),
    "another width": (lambda: arrays("wide.npz", [0, 1] * 30, [0, 1] * 5, width=5), ["5", "(batch, 3)", "ArraysData"]),
    "images": (lambda: ["--data", "digits"], ["DigitsData", "VanillaDAE", "(batch, 3)"]),
    "a layer too many": (
        lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--layer", "2"],
        ["--layer", "1", "'2'"],
    ),
    "layer zero": (lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--layer", "0"], ["--layer", "'0'"]),
    "a layer that is no number": (
        lambda: [*arrays("few.npz", [0, 1] * 30, [0, 1] * 5), "--layer", "first"],
        ["--layer", "last", "all", "'first'"],
    ),
}


def says(status, out, err, words):
    assert status == 2
    assert out == ""
    assert err.startswith("daezoo: error: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_probed_is_one_clear_sentence(what, daezoo_command, workplace):
    make, words = WRONG[what]
    says(*daezoo_command("probe", vector_run(workplace, 3), *make(), "--batch_size", "2", "--json"), words)
    assert not list(workplace.rglob("*.json"))


@pytest.mark.parametrize("what", ["no labels", "fewer samples than neighbours", "another width"])
def test_what_is_wrong_is_said_before_the_batch_size_which_does_not_matter(what, daezoo_command, workplace):
    make, words = WRONG[what]
    says(*daezoo_command("probe", vector_run(workplace, 3), *make(), "--json"), words)


@pytest.mark.parametrize("layer", ["9", "0", "4", "-1", "2.0", "second", ""])
def test_a_layer_that_a_stack_does_not_have_is_an_error(layer, daezoo_command, runs):
    says(
        *daezoo_command("probe", runs["stacked"], f"--layer={layer}"),
        ["--layer", "last, all", "from 1 to 3", repr(layer)],
    )


def test_a_convolution_does_not_take_vectors_or_other_sizes(daezoo_command, runs, workplace):
    says(
        *daezoo_command("probe", runs["conv"], *arrays("v.npz", [0, 1] * 90, [0, 1])),
        ["ArraysData", "ConvDAE", "(batch, 1, 8, 8)"],
    )
    draw = np.random.default_rng(0)
    np.savez("big.npz", train_images=draw.random((150, 12, 12)), test_images=draw.random((5, 12, 12)))
    options = ["--data", "arrays", "--data.path", "big.npz"]
    says(*daezoo_command("probe", runs["conv"], *options), ["ArraysData", "ConvDAE", "12"])


def test_a_residual_model_takes_images_of_another_size_but_not_of_other_colours(daezoo_command, runs, workplace):
    draw = np.random.default_rng(0)
    labels = {"train_labels": np.arange(200) % 2, "test_labels": np.arange(20) % 2}
    for name, shape in {"grey": (12, 12), "colour": (12, 12, 3)}.items():
        images = {}
        for split, size in (("train", 200), ("test", 20)):
            dark = (labels[f"{split}_labels"] * 0.5).reshape(size, *[1] * len(shape))
            images[f"{split}_images"] = dark + 0.4 * draw.random((size, *shape))
        np.savez(f"{name}.npz", **images, **labels)
    status, out, err = daezoo_command(
        "probe", runs["residual"], "--data", "arrays", "--data.path", "grey.npz", "--json", "--batch_size", "32"
    )
    assert status == 0, err
    assert json.loads(out)["protocol"] == "logreg-v1-avg1x1"
    assert json.loads(out)["raw_pixels"] == 1
    says(
        *daezoo_command("probe", runs["residual"], "--data", "arrays", "--data.path", "colour.npz"),
        ["ArraysData", "ResidualDAE", "3"],
    )
