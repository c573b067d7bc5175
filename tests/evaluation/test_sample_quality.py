from math import log, pi

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from daezoo.evaluation.sample_quality import SIGMAS, confidence, frechet, nearest, parzen
from daezoo.randomness import generator


class Doubling(nn.Module):
    """Codes and logits 2 x of vectors x."""

    def encode(self, x):
        return 2 * x.flatten(1)

    classify = encode


def normal(count: int, key: int, dims: int = 3) -> torch.Tensor:
    return torch.randn(count, dims, generator=generator("test", key))


def test_parzen_by_hand():
    # 1/2 (N(0; 0, σ²) + N(0; 1, σ²)), and one validation sample on a sample makes the narrowest window the likeliest
    found = parzen(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0]]), torch.zeros(2, 1))
    sigma = SIGMAS[0]
    assert found.sigma == sigma
    assert found.nats == pytest.approx(-log(2) - log(2 * pi * sigma**2) / 2 + np.log1p(np.exp(-1 / (2 * sigma**2))))
    assert found.standard_error == pytest.approx(0, abs=1e-9)


def test_parzen_agrees_with_a_sum_over_windows_of_the_width_that_validation_likes_best():
    samples, valid, test = normal(300, 0), normal(70, 1), normal(1200, 2)

    def nats(points, sigma):
        squared = torch.cdist(points.double(), samples.double()).square()
        windows = -squared / (2 * sigma**2) - 1.5 * log(2 * pi * sigma**2)
        return windows.logsumexp(1) - log(300)

    found = parzen(samples, valid, test)
    assert found.sigma == max(SIGMAS, key=lambda sigma: nats(valid, sigma).mean().item())
    assert found.nats == pytest.approx(nats(test, found.sigma).mean().item())
    assert found.standard_error == pytest.approx(nats(test, found.sigma).std().item() / 1200**0.5)


def test_frechet_is_that_of_two_gaussians_in_the_codes():
    samples, real = 0.5 + 1.5 * normal(900, 3), normal(700, 4)
    mixed = real @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    one, two = (np.asarray(2 * part.double()) for part in (samples, mixed))
    first, second = np.cov(one.T), np.cov(two.T)
    gap = np.square(one.mean(0) - two.mean(0)).sum()
    expected = gap + np.trace(first + second - 2 * scipy.linalg.sqrtm(first @ second).real)
    assert frechet(samples, mixed, Doubling()) == pytest.approx(expected, rel=1e-4)
    assert frechet(mixed, mixed, Doubling()) == pytest.approx(0, abs=1e-3)


def test_confidence_is_the_mean_of_the_largest_probability():
    logits = torch.tensor([[0.0, log(3.0) / 2], [0.0, 0.0]])  # doubled: probabilities 3/4 and 1/2
    assert confidence(logits, Doubling()) == pytest.approx(0.625)


def test_nearest_is_found_in_any_chunk():
    samples, training = normal(20, 5), normal(25_000, 6)
    training[23_456] = samples[7]
    distance, place = nearest(samples, training)
    every = torch.cdist(samples, training)
    assert place[7] == 23_456
    assert torch.equal(place, every.argmin(1))
    torch.testing.assert_close(distance, every.amin(1))
