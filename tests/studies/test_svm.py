import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from daezoo.evaluation.probe import Part
from daezoo.studies import svm
from daezoo.studies.svm import support_vectors


def rings(count: int, seed: int) -> Part:
    """Two rings, one around the other, in the plane: no line parts them."""
    draw = np.random.default_rng(seed)
    label = np.arange(count) % 2
    angle, radius = draw.uniform(0, 2 * np.pi, count), 1 + label + draw.normal(0, 0.05, count)
    plane = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return Part(torch.from_numpy(100 + 7 * plane).float(), torch.from_numpy(label))


PARTS = rings(200, 0), rings(100, 1), rings(300, 2)


def test_the_rbf_kernel_parts_two_rings_and_the_linear_one_does_not():
    linear, rbf = support_vectors("linear", *PARTS), support_vectors("rbf", *PARTS)
    assert rbf["error"] == rbf["valid_error"] == 0
    assert linear["error"] > 0.3
    assert linear["low"] < linear["error"] < linear["high"]
    assert rbf["test"] == linear["test"] == 300


def test_it_is_the_machine_of_scikit_learn_on_scaled_samples():
    found = support_vectors("rbf", *PARTS)
    train, _, test = (part.features.numpy() for part in PARTS)
    machine = SVC(C=found["C"], gamma="scale" if found["gamma"] == 1 else found["gamma"] / (2 * train.var()))
    machine.fit(train, PARTS[0].labels)
    assert np.mean(machine.predict(test) != PARTS[2].labels.numpy()) == found["error"]


def test_strengths_are_picked_by_validation_alone(monkeypatch):
    wrong = Part(PARTS[2].features, 1 - PARTS[2].labels)
    usual, spoilt = support_vectors("rbf", *PARTS), support_vectors("rbf", PARTS[0], PARTS[1], wrong)
    assert (usual["gamma"], usual["C"], usual["valid_error"]) == (spoilt["gamma"], spoilt["C"], spoilt["valid_error"])
    assert spoilt["error"] == 1
    monkeypatch.setitem(svm.KERNELS, "rbf", [(0.0001, 0.01), (2.0, 1.0)])
    assert support_vectors("rbf", *PARTS)["gamma"] == 2.0


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_the_last_fit_sees_all_training_samples(monkeypatch, kernel):
    whole = support_vectors(kernel, *PARTS)
    few = support_vectors(kernel, *PARTS, largest=20)
    monkeypatch.setitem(svm.KERNELS, kernel, [(few["gamma"], few["C"])])
    same = support_vectors(kernel, *PARTS)
    assert few["error"] == pytest.approx(same["error"], abs=0.01)
    assert few["valid_error"] == pytest.approx(same["valid_error"], abs=0.011)
    assert whole["test"] == 300


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_samples_whose_kernel_matrix_would_be_huge_are_learnt_without_it(monkeypatch, kernel):
    usual = support_vectors(kernel, *PARTS)
    monkeypatch.setattr(svm, "HELD", 100)
    found = support_vectors(kernel, *PARTS)
    assert found["error"] == pytest.approx(usual["error"], abs=0.01)
    assert (found["gamma"], found["C"]) == (usual["gamma"], usual["C"])


def test_features_that_do_not_vary_are_no_error():
    flat = [Part(torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))] * 3
    assert support_vectors("linear", *flat)["error"] == 0.5
