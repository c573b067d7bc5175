import pytest
import torch
from torch import nn

from daezoo.corruption import Gaussian
from daezoo.densities import Gaussian as Normal
from daezoo.densities import GaussianMixture
from daezoo.likelihoods import FixedGaussian
from daezoo.losses import CrossEntropy, SquaredError
from daezoo.models import PreconditionedDAE, StackedDAE, VanillaDAE
from daezoo.randomness import generator
from daezoo.sampling import Known, Means, chain, heun, ladder, langevin, of_class, sample_top_down, score

TWO = GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.2, 0.1])


def stack(**others) -> StackedDAE:
    torch.manual_seed(0)
    return StackedDAE([1, 2, 3], **({"hidden": [5, 4], "loss": CrossEntropy(), "code_corruption": None} | others))


def test_samples_are_means_in_the_shape_of_the_data_and_fixed_by_the_generator():
    model, codes = stack(), torch.rand(7, 4)
    draws = [sample_top_down(model, codes, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0].shape == (7, 1, 2, 3)
    assert draws[0].min() > 0 and draws[0].max() < 1
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_hidden_layers_are_drawn_with_the_probabilities_of_their_decoder():
    model = stack()
    lower, upper = model.network.layers
    code = torch.rand(1, 4)
    mean = upper.decode(code).sigmoid()
    with torch.no_grad():  # the lowest layer shows one hidden unit at each pixel, far from saturation
        lower.weight.zero_()
        lower.weight[:5, :5] = torch.eye(5) * 0.1
        lower.visible_bias.zero_()
    samples = sample_top_down(model, code.expand(20_000, 4), torch.Generator().manual_seed(0)).flatten(1)[:, :5]
    hidden = samples.logit() / 0.1
    assert torch.allclose(hidden, hidden.round(), atol=1e-3)
    assert torch.allclose(hidden.mean(0), mean[0], atol=4 * 0.5 / 20_000**0.5)


def test_one_layer_needs_no_draws():
    model, code = stack(hidden=[5]), torch.rand(3, 5)
    expected = model.network.layers[0].decode(code).sigmoid().view(3, 1, 2, 3)
    assert torch.equal(sample_top_down(model, code), expected)


@pytest.mark.parametrize("others", [{"activation": "relu"}, {"loss": SquaredError()}])
def test_a_stack_without_probabilities_is_an_error(others):
    with pytest.raises(ValueError, match="Top-down sampling needs logistic units"):
        sample_top_down(stack(**others), torch.rand(1, 4))


def test_codes_that_are_no_probabilities_are_an_error():
    with pytest.raises(ValueError, match=r"Codes must lie in \[0, 1\], got 0 to 2"):
        sample_top_down(stack(), torch.tensor([[0.0, 0.0, 0.0, 2.0]]))


def test_a_ladder_falls_from_the_highest_to_the_lowest_and_to_0():
    levels = ladder(0.01, 10.0, 5, rho=7.0)
    assert levels[0] == 10.0 and levels[-2] == 0.01 and levels[-1] == 0.0
    # evenly spaced roots
    roots = torch.tensor(levels[:-1], dtype=torch.float64) ** (1 / 7)
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(4))
    for wrong in ((0.0, 1.0, 5), (1.0, 0.5, 5), (0.1, 1.0, 1), (0.1, float("inf"), 5)):
        with pytest.raises(ValueError, match="A ladder needs 0 < lowest < highest"):
            ladder(*wrong)


def test_the_score_is_that_of_the_noisy_density():
    points = TWO.sample(50, generator(0)) + 0.4 * torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(score(TWO.posterior_mean, points, 0.4), TWO.score(points, 0.4))
    with pytest.raises(ValueError, match="sigma must be > 0, got 0"):
        score(TWO.posterior_mean, points, 0.0)


def started(count: int, dimensions: int = 2) -> torch.Tensor:
    return 20 * torch.randn(count, dimensions, generator=generator("start"), dtype=torch.float64)


@pytest.mark.parametrize(
    ("draw", "off"),
    [
        (lambda start: heun(TWO.posterior_mean, start, ladder(0.002, 20.0, 40)), 0.1),
        (lambda start: heun(TWO.posterior_mean, start, ladder(0.002, 20.0, 60), 0.2, generator(2)), 0.1),
        # as wide as the density still was when steps became too small to follow it
        (lambda start: langevin(TWO.posterior_mean, start, ladder(0.01, 20.0, 60), 10, 0.2, generator(2)), 0.25),
    ],
    ids=["ode", "stochastic", "langevin"],
)
def test_samplers_give_the_density_that_they_have_the_denoiser_of(draw, off):
    samples = draw(started(2000))
    right = samples[:, 0] > 0
    # a share of 0.7 of 2,000 has a standard error of 0.0102; discretisation adds a little
    assert right.double().mean().item() == pytest.approx(0.7, abs=0.05)
    for part, mean, sigma in ((samples[~right], [-1.0, 0.0], 0.2), (samples[right], [1.0, 0.5], 0.1)):
        torch.testing.assert_close(part.mean(0), torch.tensor(mean, dtype=torch.float64), atol=0.03, rtol=0)
        assert ((part.std(0) / sigma - 1).abs() < off).all()


def test_heuns_rule_is_of_second_order():
    density, start = Normal([0.5], [[0.25]]), started(1, 1)
    exact = 0.5 + (start - 0.5) * (0.25 / (0.25 + 400)) ** 0.5
    errors = []
    for steps in (40, 80):
        found = heun(density.posterior_mean, start, ladder(0.002, 20.0, steps))
        errors.append((found - exact).abs().item())
    assert errors[0] / errors[1] > 3.5


def test_samples_agree_with_what_is_known_and_the_rest_follows():
    # x₂ given x₁ = 1: mean 0.8, variance 0.25 (1 − 0.8²) = 0.09
    density = Normal([0.0, 0.0], [[0.25, 0.2], [0.2, 0.25]])
    known = Known(torch.tensor([[1.0, 7.0]], dtype=torch.float64), torch.tensor([[True, False]]))
    samples = heun(density.posterior_mean, started(2000), ladder(0.002, 20.0, 60), 0.1, generator(3), known)
    assert (samples[:, 0] == 1).all()
    assert samples[:, 1].mean().item() == pytest.approx(0.8, abs=0.05)
    assert 0.2 < samples[:, 1].std().item() < 0.4
    assert torch.equal(known.take(torch.tensor([0, 0])).mask, torch.tensor([[True, False]] * 2))


def test_means_of_blocks_are_kept_and_the_shift_is_the_smallest():
    small, start = torch.rand(2, 3, 2, 2, generator=generator(4)), torch.rand(2, 3, 4, 4, generator=generator(5))
    moved = Means(small).consistent(start)
    torch.testing.assert_close(nn.functional.avg_pool2d(moved, 2), small)
    shift = (moved - start).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift))
    assert torch.equal(Means(small).take(torch.tensor([1])).small, small[1:])


class Posterior(VanillaDAE):
    """The best denoiser of N(0, 1) under noise of 1, and its posterior: N(x̃ / 2, 1 / 2)."""

    def __init__(self) -> None:
        super().__init__([1], [1], loss=FixedGaussian(sigma=0.5**0.5))

    def forward(self, noisy, level=None):
        return noisy / 2


def test_the_chain_of_a_true_posterior_stays_in_the_density():
    start, seen = torch.full((20_000, 1), 5.0), []
    means = chain(Posterior(), Gaussian(1.0), start, 30, True, generator(6), seen.append)
    assert len(seen) == 30 and torch.equal(seen[-1], means)
    # means x̃ / 2 of x̃ ~ N(0, 2) have a variance of 1 / 2, known to within √(2 / 20,000) of it
    assert means.mean().abs() < 0.03
    assert means.var().item() == pytest.approx(0.5, rel=0.05)
    shrunk = chain(Posterior(), Gaussian(0.0), start, 30, False)
    assert shrunk.abs().max() < 1e-6
    assert torch.equal(means, chain(Posterior(), Gaussian(1.0), start, 30, True, generator(6)))


def test_numbers_that_samplers_cannot_take_are_errors():
    start, levels = started(2), ladder(0.1, 1.0, 3)
    with pytest.raises(ValueError, match=r"churn in \[0, 0.414\], got 0.5"):
        heun(TWO.posterior_mean, start, levels, 0.5)
    for steps, rate in ((0, 0.1), (1, 0.0), (1, 2.0)):
        with pytest.raises(ValueError, match="steps >= 1 and a rate in"):
            langevin(TWO.posterior_mean, start, levels, steps, rate)
    with pytest.raises(ValueError, match="one step or more, got 0"):
        chain(Posterior(), Gaussian(1.0), start, 0)
    with pytest.raises(ValueError, match="or take means"):
        chain(VanillaDAE([2], [3]), Gaussian(1.0), start.float(), 1)


def test_guidance_goes_on_from_no_class_to_a_class():
    model, noisy = PreconditionedDAE([2], classes=3).eval(), torch.randn(2, 2, generator=generator(9))
    for weights in model.parameters():
        nn.init.normal_(weights, std=0.3, generator=generator(10))
    label = torch.tensor([2, 0])
    none, told = model(noisy, 0.5), model(noisy, 0.5, label)
    assert not torch.allclose(none, told, atol=1e-3)
    for guidance in (0.0, 1.0, 2.5):
        torch.testing.assert_close(of_class(model, label, guidance)(noisy, 0.5), none + guidance * (told - none))


def test_classes_that_a_model_does_not_know_are_errors():
    with pytest.raises(ValueError, match="was not told classes"):
        of_class(PreconditionedDAE([2]), torch.tensor([0]))
    for label, guidance in ((3, 1.0), (-1, 1.0), (0, -0.5)):
        with pytest.raises(ValueError, match="Labels must lie in 0 to 2 and guidance be at least 0, got"):
            of_class(PreconditionedDAE([2], classes=3), torch.tensor([label]), guidance)
