import json
from contextlib import redirect_stdout
from io import StringIO
from unittest.mock import patch

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from conftest import fit_arguments, whole
from daezoo.cli import main
from daezoo.evaluation.anomaly import NEIGHBOURS, SCORES, distances, errors, judge, metrics
from daezoo.zoo.measure import opened


def run_of(folder, name, *others):
    """A tiny run on 300 of the digits."""
    arguments = ["--model.hidden", "[16]", "--trainer.max_epochs", "2", "--trainer.precision", "32-true"]
    place = ["--runs", str(folder), "--name", name, "--data.path", str(folder / "little.npz")]
    with redirect_stdout(StringIO()), patch("daezoo.figures.save_all", return_value=[]):  # pictures take long
        assert main(fit_arguments("vanilla", "arrays", *arguments, *place, *others)) == 0
    return str(folder / "vanilla-arrays" / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place, digits = tmp_path_factory.mktemp("runs"), load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target
    halves = {"train_images": images[:200], "test_images": images[200:300]}
    np.savez(place / "little.npz", **halves, train_labels=labels[:200], test_labels=labels[200:300])
    np.savez(place / "bare.npz", **halves)
    return place


@pytest.fixture(scope="module")
def without_three(folder):
    """A run that never saw a 3 or a 4."""
    return run_of(folder, "without", "--data.classes", "[0,1,2,5,6,7,8,9]")


@pytest.fixture(scope="module")
def with_all(folder):
    return run_of(folder, "all")


@pytest.fixture(scope="module")
def target(without_three):
    return opened(without_three)


@pytest.fixture(scope="module")
def result(target):
    return judge(target)


def anomaly(*args):
    """What `daezoo anomaly --json` prints."""
    with redirect_stdout(StringIO()) as out:
        assert main(["anomaly", *args, "--json", "--device", "cpu"]) == 0
    return json.loads(out.getvalue())


# metrics


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize("steps", [5, 10_000])
def test_metrics_are_those_of_scikit_learn_whatever_the_scale_and_with_ties(scale, steps):
    draw = np.random.default_rng(steps)
    truth = draw.random(500) < 0.2
    scores = np.round((draw.standard_normal(500) + truth) * steps / 10) * scale
    got = metrics(torch.from_numpy(scores), torch.from_numpy(truth))
    assert got["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert got["average_precision"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)


def test_false_positives_by_hand():
    # of 20 anomalies 19 have to be found: the threshold is 5, and 3 of 4 normal samples are at or above it
    anomalies, normal = [0.0, *[5.0] * 10, *[9.0] * 9], [4.0, 5.0, 7.0, 8.0]
    truth = torch.tensor([True] * 20 + [False] * 4)
    assert metrics(torch.tensor([*anomalies, *normal]), truth)["fpr95"] == 0.75
    # of 19, 18 are too few: the threshold is 0, and nothing is below it
    assert metrics(torch.tensor([*anomalies[:-1], *normal]), truth[1:])["fpr95"] == 1


def test_perfect_useless_and_reversed_scores():
    truth = torch.tensor([False, False, True, True])
    assert metrics(torch.tensor([1.0, 2.0, 3.0, 4.0]), truth) == {"auroc": 1, "average_precision": 1, "fpr95": 0}
    assert metrics(torch.ones(4), truth) == {"auroc": 0.5, "average_precision": 0.5, "fpr95": 1}
    assert metrics(torch.tensor([4.0, 3.0, 2.0, 1.0]), truth)["auroc"] == 0


# distances


def test_distances_are_those_of_their_definitions():
    draw = np.random.default_rng(0)
    train, test = draw.standard_normal((60, 7)).astype(np.float32), draw.standard_normal((9, 7)).astype(np.float32)
    got = distances(torch.from_numpy(train), torch.from_numpy(test))
    fitted = LedoitWolf().fit(train.astype(np.float64))
    moved = test - fitted.location_
    expected = np.einsum("nd,de,ne->n", moved, np.linalg.inv(fitted.covariance_), moved)
    assert got["mahalanobis"].numpy() == pytest.approx(expected, rel=1e-6)
    nearest, _ = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(train).kneighbors(test)
    assert got["knn"].numpy() == pytest.approx(nearest.mean(1), rel=1e-4)
    few = distances(torch.from_numpy(train[:2]), torch.from_numpy(test))["knn"]
    assert few.numpy() == pytest.approx(np.linalg.norm(test[:, None] - train[None, :2], axis=2).mean(1), rel=1e-4)


# a model that never saw two classes


def test_anomalies_are_the_classes_that_training_left_out(target, result):
    labels = whole(target.data.splits["test"]).label
    assert set(whole(target.data.splits["train"]).label.tolist()) == {0, 1, 2, 5, 6, 7, 8, 9}
    assert (result["normal"], result["anomalous"], result["seen"]) == ([0, 1, 2, 5, 6, 7, 8, 9], [3, 4], [])
    left_out = int(((labels == 3) | (labels == 4)).sum())
    assert result["samples"]["anomalous"] == left_out
    assert result["samples"]["normal"] == 100 - left_out
    assert result["scores"].keys() == SCORES.keys()
    assert all(0 <= value <= 1 for one in result["scores"].values() for value in one.values())


def test_the_error_of_a_clean_sample_is_that_of_the_denoiser(target, result):
    test = whole(target.data.splits["test"])
    with torch.inference_mode():
        error = (target.model.denoise(test.clean) - test.clean).square().flatten(1).mean(1)
        found = errors(target)
    assert torch.allclose(found["clean"], error, atol=1e-6)
    assert found["noisy"].mean() > found["clean"].mean()
    anomalous = (test.label == 3) | (test.label == 4)
    assert result["scores"]["clean"]["auroc"] == pytest.approx(roc_auc_score(anomalous, error), abs=1e-5)


def test_what_is_known_of_pixels_is_fitted_to_the_normal_training_samples_alone(target, result):
    train, test = (whole(target.data.splits[name]) for name in ("train", "test"))
    x, y = train.clean.flatten(1).double().numpy(), test.clean.flatten(1).double().numpy()
    mean, (_, values, axes) = x.mean(0), np.linalg.svd(x - x.mean(0), full_matrices=False)
    count = int(np.searchsorted(np.cumsum(values**2) / np.sum(values**2), 0.9)) + 1
    rest = (y - mean) - (y - mean) @ axes[:count].T @ axes[:count]
    assert result["components"] == count
    anomalous = (test.label == 3) | (test.label == 4)
    expected = roc_auc_score(anomalous, (rest**2).mean(1))
    assert result["scores"]["pca"]["auroc"] == pytest.approx(expected, abs=1e-3)
    nearest, _ = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(x).kneighbors(y)
    expected = roc_auc_score(anomalous, nearest.mean(1))
    assert result["scores"]["pixels_knn"]["auroc"] == pytest.approx(expected, abs=1e-3)


def test_the_same_command_gives_the_same_numbers_in_batches_of_any_size(without_three, result):
    assert anomaly(without_three, "--batch_size", "7")["scores"] == result["scores"]


def test_named_anomalies_are_taken_and_what_is_neither_is_left_out(without_three, result):
    one = anomaly(without_three, "--anomalous", "4")
    assert (one["anomalous"], one["normal"], one["seen"]) == ([4], result["normal"], [])
    assert one["samples"]["normal"] == result["samples"]["normal"]
    assert one["samples"]["anomalous"] < result["samples"]["anomalous"]
    two = anomaly(without_three, "--anomalous", "4", "8")
    assert (two["normal"], two["seen"]) == ([0, 1, 2, 5, 6, 7, 9], [8])
    assert two["samples"]["train"] < result["samples"]["train"]


def test_the_table_names_every_score_and_warns_of_what_training_saw(daezoo_command, without_three, with_all):
    status, out, err = daezoo_command("anomaly", without_three)
    assert status == 0, err
    assert all(words in out for words in (*SCORES.values(), "chance", "anomaly-v1"))
    assert "test samples of 3, 4 among" in out
    assert "training saw" not in out
    assert "The model's training saw 8" in daezoo_command("anomaly", with_all, "--anomalous", "8")[1]


def test_other_data_says_which_classes_are_normal(daezoo_command, with_all, folder):
    same = ["--data", "arrays", "--data.path", str(folder / "little.npz"), "--data.classes", "[0,1,2]"]
    status, out, err = daezoo_command("anomaly", with_all, *same)
    assert status == 0, err
    assert "The model's training saw 3, 4, 5, 6, 7, 8, 9" in out
    status, out, err = daezoo_command("anomaly", with_all, "--data", "digits", "--data.classes", "[0,1]")
    assert status == 0, err
    assert "training saw the like of these is not known" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "has all classes of its test split, so none is an anomaly. Leave one out in training, by daezoo fit"),
        (["--anomalous", "12"], "must be some of those of the test split, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        (["--anomalous", *"0123456789"], "leave one that the training split has"),
        (["--anomalous", "three"], "anomalous"),
        (["--data", "arrays", "--data.path", "bare.npz"], "Every sample needs a label here"),
    ],
)
def test_errors_of_use(daezoo_command, with_all, folder, options, said):
    status, out, err = daezoo_command(
        "anomaly", with_all, *(str(folder / o) if o == "bare.npz" else o for o in options)
    )
    assert (status, out) == (2, "")
    assert said in err


def test_a_model_that_went_wrong_is_named(target):
    broken = target._replace(model=target.untrained())
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="are not all finite"):
        judge(broken)
