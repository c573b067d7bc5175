import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from daezoo.evaluation.logreg import CHUNK, Linear, logistic_regression, nearest_neighbours


def problem(samples: int, features: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes around random means, standardised; every class occurs."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % classes
    means = torch.randn(classes, features, generator=draw)
    x = means[labels] + 1.5 * torch.randn(samples, features, generator=draw)
    return (x - x.mean(0)) / x.std(0, correction=0), labels


def with_constant_columns() -> tuple[Tensor, Tensor]:
    x, labels = problem(300, 6, 4)
    return torch.cat([x, torch.zeros(300, 2), torch.ones(300, 1)], 1), labels


def correlated() -> tuple[Tensor, Tensor]:
    x, labels = problem(400, 5, 3)
    noise = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    return torch.cat([x, x + 0.01 * noise, x.sum(1, keepdim=True)], 1), labels


PROBLEMS = {
    "ten classes": problem(500, 20, 10),
    "more features than samples": problem(40, 100, 3),
    "constant columns": with_constant_columns(),
    "two classes": problem(300, 8, 2),
    "twelve classes": problem(600, 10, 12),
    "sixteen classes": problem(320, 5, 16),
    "seventeen classes": problem(340, 5, 17),
    "one feature": problem(200, 1, 3),
    "columns that are nearly the same": correlated(),
    "more samples than a chunk": problem(CHUNK + 100, 4, 3),
}


def objective(x: Tensor, labels: Tensor, weight: np.ndarray, bias: np.ndarray, strength: float) -> float:
    """1/N Σ −log softmax(Wᵀx + b)_y + λ/2 ‖W‖², in float64, by NumPy alone."""
    scores = x.double().numpy() @ weight + bias
    scores -= scores.max(1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return float(-logs[np.arange(len(labels)), labels.numpy()].mean() + strength / 2 * np.square(weight).sum())


def optimum(x: Tensor, labels: Tensor, strength: float) -> float:
    """The smallest value of the objective, by scikit-learn."""
    binary = len(labels.unique()) == 2
    # for two classes scikit-learn has one vector w, the softmax ±w/2, whose squares add up to half of w's
    model = LogisticRegression(C=(2 if binary else 1) / (strength * len(x)), tol=1e-9, max_iter=100_000)
    model.fit(x.double().numpy(), labels.numpy())
    weight, bias = model.coef_.T, model.intercept_
    if binary:
        weight, bias = np.concatenate([-weight, weight], 1) / 2, np.array([-bias[0], bias[0]]) / 2
    return objective(x, labels, weight, bias, strength)


def loss_of(x: Tensor, labels: Tensor, found: Linear, strength: float) -> float:
    return objective(x, labels, found.weight.numpy(), found.bias.numpy(), strength)


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_loss_is_that_of_scikit_learns_optimum(name, strength):
    x, labels = PROBLEMS[name]
    found = logistic_regression(x, labels, int(labels.max()) + 1, strength)
    best = optimum(x, labels, strength)
    assert found.weight.dtype == found.bias.dtype == torch.float64
    assert found.loss == pytest.approx(best, abs=1e-4)
    assert best - 1e-6 <= loss_of(x, labels, found, strength) <= best + 1e-4


def test_another_covariance_leads_to_the_same_minimum():
    x, labels = PROBLEMS["columns that are nearly the same"]
    plain = logistic_regression(x, labels, 3, 1e-3, tolerance=1e-12, covariance=torch.eye(11, dtype=torch.float64))
    found = logistic_regression(x, labels, 3, 1e-3, tolerance=1e-12)
    assert found.loss == pytest.approx(plain.loss, abs=1e-6)
    assert torch.allclose(found.weight, plain.weight, atol=0.02)


def test_correlated_features_take_few_steps(monkeypatch):
    x, labels = problem(2_000, 60, 5)
    rotations = torch.linalg.qr(torch.randn(2, 60, 60, generator=torch.Generator().manual_seed(2)))[0]
    mixed = x @ rotations[0] @ torch.diag(torch.logspace(0, -3, 60)) @ rotations[1]
    mixed = (mixed - mixed.mean(0)) / mixed.std(0, correction=0)
    counts = []

    def counted(*args, **options):
        found = minimize(*args, **options)
        counts.append(found.nfev)
        return found

    monkeypatch.setattr("daezoo.evaluation.logreg.minimize", counted)
    losses = [
        logistic_regression(mixed, labels, 5, 1e-5, tolerance=1e-6, covariance=covariance).loss
        for covariance in (None, torch.eye(60, dtype=torch.float64))
    ]
    assert losses[0] < losses[1] + 1e-4
    assert counts[0] < counts[1] / 2


@pytest.mark.parametrize("name", ["more features than samples", "columns that are nearly the same"])
def test_the_weakest_strength_of_the_grid_gets_there_from_zero(name):
    x, labels = PROBLEMS[name]
    found = logistic_regression(x, labels, 3, 1e-5)
    assert found.loss == pytest.approx(optimum(x, labels, 1e-5), abs=1e-4)


def test_two_samples_have_the_solution_of_one_equation():
    # by symmetry W = [-w, w] and b = 0, where the derivative of log(1 + exp(-2w)) + λ w² vanishes
    found = logistic_regression(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]), 2, 0.1)
    w = found.weight[0, 1].item()
    assert found.weight[0].tolist() == pytest.approx([-w, w], abs=1e-5)
    assert found.bias.tolist() == pytest.approx([0, 0], abs=1e-5)
    assert 2 / (1 + np.exp(2 * w)) == pytest.approx(0.2 * w, abs=1e-4)


def test_the_intercept_is_not_penalised():
    x, labels = problem(300, 6, 4)
    shift = torch.tensor([3.0, -2.0, 0.5, 0.0, 1.0, -4.0])
    plain, shifted = (logistic_regression(features, labels, 4, 1e-2) for features in (x, x + shift))
    assert shifted.loss == pytest.approx(plain.loss, abs=1e-5)
    assert torch.allclose(shifted.weight, plain.weight, atol=1e-2)
    assert torch.equal(shifted.predict(x + shift), plain.predict(x))


def test_under_an_overwhelming_penalty_the_class_frequencies_are_left():
    x, _ = problem(100, 5, 2)
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    labels = torch.arange(3).repeat_interleave(torch.tensor([50, 30, 20]))
    found = logistic_regression(x, labels, 3, 1e3)
    assert found.weight.abs().max() < 1e-3
    assert found.bias.softmax(0).tolist() == pytest.approx(shares.tolist(), abs=1e-3)
    assert found.loss == pytest.approx(-(shares * shares.log()).sum().item(), abs=1e-3)
    assert found.predict(x).tolist() == [0] * 100


def test_a_class_without_samples_is_never_predicted():
    x, labels = problem(200, 4, 3)
    found = logistic_regression(x, labels * 2, 5, 1e-2)
    assert set(found.predict(x).tolist()) <= {0, 2, 4}
    assert found.loss == pytest.approx(optimum(x, labels, 1e-2), abs=1e-3)


def test_order_and_repetition_of_samples_do_not_matter():
    x, labels = problem(300, 6, 4)
    loss = logistic_regression(x, labels, 4, 1e-3).loss
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert logistic_regression(x[order], labels[order], 4, 1e-3).loss == pytest.approx(loss, abs=1e-5)
    assert logistic_regression(x.repeat(2, 1), labels.repeat(2), 4, 1e-3).loss == pytest.approx(loss, abs=1e-5)


def test_names_of_the_classes_do_not_matter():
    x, labels = problem(300, 6, 4)
    plain, renamed = (logistic_regression(x, y, 4, 1e-3) for y in (labels, 3 - labels))
    assert renamed.loss == pytest.approx(plain.loss, abs=1e-5)
    assert torch.equal(renamed.predict(x), 3 - plain.predict(x))


def test_where_it_starts_does_not_matter():
    x, labels = problem(300, 6, 4)
    draw = torch.Generator().manual_seed(0)
    start = Linear(torch.randn(6, 4, generator=draw).double(), torch.randn(4, generator=draw).double(), 0.0)
    before = start.weight.clone(), start.bias.clone()
    cold, warm = (logistic_regression(x, labels, 4, 1e-3, where) for where in (None, start))
    assert warm.loss == pytest.approx(cold.loss, abs=1e-5)
    assert torch.equal(start.weight, before[0])
    assert torch.equal(start.bias, before[1])


def test_a_stronger_penalty_gives_smaller_weights_and_a_larger_loss():
    x, labels = problem(300, 6, 4)
    found = [logistic_regression(x, labels, 4, strength) for strength in (1.0, 1e-1, 1e-2, 1e-3)]
    norms, losses = [one.weight.norm().item() for one in found], [one.loss for one in found]
    assert norms == sorted(norms)
    assert losses == sorted(losses, reverse=True)


def test_the_same_problem_gives_the_same_digits():
    x, labels = PROBLEMS["more samples than a chunk"]
    first, second = (logistic_regression(x.clone(), labels.clone(), 3, 1e-3) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert first.loss == second.loss


def test_a_prediction_is_the_largest_of_the_scores():
    x, labels = PROBLEMS["more samples than a chunk"]
    found = logistic_regression(x, labels, 3, 1e-2)
    expected = (x.double().numpy() @ found.weight.numpy() + found.bias.numpy()).argmax(1)
    assert found.predict(x).tolist() == expected.tolist()


@pytest.mark.parametrize(("k", "classes"), [(1, 3), (2, 2), (5, 12), (20, 10), (300, 3)])
def test_nearest_neighbours_are_scikit_learns(k, classes):
    x, labels = problem(300, 7, classes)
    queries, _ = problem(CHUNK + 50, 7, classes, seed=1)
    scale = torch.rand(300, 1, generator=torch.Generator().manual_seed(2)) * 10 + 0.01
    reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit((x * scale).numpy(), labels.numpy())
    expected = torch.from_numpy(reference.predict(queries.numpy()))
    assert torch.equal(nearest_neighbours(x * scale, labels, queries, k), expected)


def test_nearest_is_by_angle_and_not_by_distance():
    features, labels = torch.tensor([[100.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    assert nearest_neighbours(features, labels, torch.tensor([[1.0, 0.5], [30.0, 80.0]]), 1).tolist() == [0, 1]


def test_a_sample_is_its_own_nearest_neighbour():
    x, labels = problem(200, 6, 5)
    assert torch.equal(nearest_neighbours(x, labels, 3 * x, 1), labels)


def test_of_classes_with_equally_many_votes_the_smallest_wins():
    features, labels = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3]]), torch.tensor([2, 1, 1, 2])
    assert nearest_neighbours(features, labels, torch.tensor([[1.0, 0.0]]), 4).tolist() == [1]


def test_codes_that_are_zero_have_neighbours_too():
    x, labels = problem(50, 4, 3)
    found = nearest_neighbours(torch.cat([x, torch.zeros(1, 4)]), torch.cat([labels, labels[:1]]), torch.zeros(2, 4), 5)
    assert set(found.tolist()) <= {0, 1, 2}
