from itertools import pairwise
from math import exp, log, pi

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from conftest import build
from daezoo.architectures import ConvStack
from daezoo.evaluation.sample_quality import SIGMAS, confidence, frechet, nearest, parzen


class Stub(nn.Module):
    """Its code is linear in the sample, and so are its logits."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weights = torch.randn(inputs, width, generator=torch.Generator().manual_seed(0))

    def encode(self, x):
        return x.flatten(1) @ self.weights

    def classify(self, x):
        return self.encode(x)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_parzen_by_hand():
    samples, valid = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.2], [0.9]])
    test = torch.tensor([[0.1], [0.6], [2.0]])

    def density(x: float, sigma: float) -> float:
        return sum(exp(-((x - centre) ** 2) / (2 * sigma**2)) for centre in (0, 1)) / (2 * sigma * (2 * pi) ** 0.5)

    found = parzen(samples, valid, test)
    likely = {sigma: log(density(0.2, sigma)) + log(density(0.9, sigma)) for sigma in SIGMAS if sigma > 0.05}
    assert found.sigma == max(likely, key=lambda sigma: likely[sigma])
    nats = [log(density(x, found.sigma)) for x in (0.1, 0.6, 2.0)]
    assert found.nats == pytest.approx(np.mean(nats), rel=1e-6)
    assert found.standard_error == pytest.approx(np.std(nats, ddof=1) / 3**0.5, rel=1e-6)


@pytest.mark.parametrize("spread", [0.02, 0.1, 1.0])
def test_parzen_is_a_logsumexp_of_the_likeliest_width(spread):
    samples, valid, test = (spread * draw(seed, size, 1, 3, 4) for seed, size in enumerate((40, 1100, 520)))

    def nats(points: torch.Tensor, sigma: float) -> torch.Tensor:
        square = (points.flatten(1)[:, None].double() - samples.flatten(1)).square().sum(2)
        return torch.logsumexp(-square / (2 * sigma**2), 1) - log(40) - 12 * log(sigma * (2 * pi) ** 0.5)

    found = parzen(samples, valid, test)
    assert found.sigma == max(SIGMAS, key=lambda sigma: nats(valid[:1000], sigma).mean().item())
    expected = nats(test, found.sigma)
    assert found.nats == pytest.approx(expected.mean().item(), rel=1e-6)
    assert found.standard_error == pytest.approx(expected.std().item() / 520**0.5, rel=1e-6)


def test_widths_grow_by_a_twelfth_of_a_decade():
    assert (len(SIGMAS), SIGMAS[0], SIGMAS[-1]) == (16, pytest.approx(10**-1.5), pytest.approx(10**-0.25))
    assert all(b / a == pytest.approx(10 ** (1 / 12)) for a, b in pairwise(SIGMAS))


def test_frechet_is_the_closed_form():
    judge, samples, real = Stub(16, 5), draw(0, 700, 1, 4, 4) ** 2, draw(1, 1200, 1, 4, 4)
    one, other = (judge.encode(x).double().numpy() for x in (samples, real))
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet(samples, real, judge) == pytest.approx(expected, rel=1e-4)
    assert frechet(real, samples, judge) == pytest.approx(expected, rel=1e-4)
    assert frechet(real, real, judge) == pytest.approx(0, abs=1e-4)


def test_frechet_of_feature_maps_pools_them():
    model, _ = build("residual", network=ConvStack(4, 2))
    found = frechet(draw(0, 20, 1, 8, 8), draw(1, 20, 1, 8, 8), model.eval())
    assert np.isfinite(found)


def test_confidence_by_hand():
    judge = Stub(2, 2)
    judge.weights = torch.eye(2)
    samples = torch.tensor([[0.0, 0.0], [log(3), 0.0], [0.0, log(9)]])
    assert confidence(samples, judge) == pytest.approx((0.5 + 0.75 + 0.9) / 3)
    many = samples.repeat(400, 1)  # in several parts
    assert confidence(many, judge) == pytest.approx((0.5 + 0.75 + 0.9) / 3)


def test_nearest_is_that_of_brute_force():
    samples, training = draw(0, 30, 1, 2, 3), draw(1, 20_100, 1, 2, 3)
    training[[7, 10_007, 20_007]] = samples[:3] + 1e-3  # in every part
    distances, places = nearest(samples, training)
    brute = torch.cdist(samples.flatten(1).double(), training.flatten(1).double())
    assert torch.equal(places, brute.argmin(1)) and places[:3].tolist() == [7, 10_007, 20_007]
    assert torch.allclose(distances.double(), brute.amin(1), atol=1e-6)


def test_a_copy_is_at_distance_0():
    training = draw(1, 300, 1, 28, 28)
    distances, places = nearest(training[40:90], training)
    assert places.tolist() == list(range(40, 90))
    assert not distances.any()
