import pytest
import torch
from scipy.stats import kstest, norm, uniform

from daezoo.priors import Mixture, Normal, Uniform
from daezoo.randomness import SampleNoise, StepNoise

PRIORS = [Normal(2.0), Uniform(3.0), Mixture(5, 4.0, 0.2)]
every_prior = pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)


def drawn(prior, count: int = 5000, width: int = 3) -> torch.Tensor:
    return StepNoise(0, 0)(prior, torch.zeros(count, width), "prior").noisy


def test_draws_follow_their_law():
    assert kstest(drawn(Normal(2.0)).flatten(), norm(0, 2).cdf).pvalue > 0.01
    assert kstest(drawn(Uniform(3.0)).flatten(), uniform(-3, 6).cdf).pvalue > 0.01
    codes = drawn(Mixture(5, 4.0, 0.2))
    assert kstest(codes[:, 2], norm(0, 0.2).cdf).pvalue > 0.01
    angle = torch.atan2(codes[:, 1], codes[:, 0]) / (2 * torch.pi) * 5
    shares = torch.bincount(angle.round().long() % 5, minlength=5) / len(codes)
    assert (shares - 0.2).abs().max() < 0.03
    assert (codes[:, :2].norm(dim=1) - 4).abs().max() < 5 * 0.2


@every_prior
def test_draws_are_a_function_of_the_key_alone(prior):
    codes, global_state = torch.full((9, 4), 7.0), torch.get_rng_state()
    whole = SampleNoise(0, "valid", torch.arange(9))(prior, codes, "prior").noisy
    part = SampleNoise(0, "valid", torch.arange(3, 6))(prior, codes[3:6], "prior").noisy
    assert torch.equal(whole[3:6], part)
    assert torch.equal(codes, torch.full((9, 4), 7.0))
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0.0), r"Normal scale must be positive and finite, got 0\.0"),
        (lambda: Uniform(-1.0), r"Uniform scale must be positive and finite, got -1\.0"),
        (lambda: Mixture(0), "Mixture components must be positive and finite, got 0"),
        (lambda: Mixture(radius=float("inf")), "Mixture radius must be positive and finite, got inf"),
        (lambda: drawn(Mixture(), 3, 1), "A Mixture lies on a circle of two units, got codes of 1"),
    ],
)
def test_priors_that_are_none_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
