"""What corruptions say about their own law, against their samples, sums over all outcomes, quadrature and autograd."""

from itertools import product
from math import e, inf, log, pi, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daezoo import corruption as module
from daezoo.corruption import (
    JPEG,
    BlockMasking,
    Blur,
    Clean,
    Compose,
    Gaussian,
    GaussianMasking,
    Masking,
    OneOf,
    Poisson,
    Recorded,
    Reservoir,
    SaltAndPepper,
    Scratches,
    Speckle,
    SwapNoise,
)
from daezoo.schedule import Fixed, LogUniform, Progressive, Uniform

quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
ROWS = torch.tensor([[-1.0, 0.0, 0.5, 1.0], [2.0, 0.1, 0.2, 1.0], [0.5, 0.3, 0.9, 1.0]])
BOUND = SwapNoise(0.4).bound(lambda: Reservoir(ROWS))
CLEAN = torch.tensor([[0.7, 0.0, -0.4, 1.0]])
WITH_ERROR = [
    Clean(),
    Gaussian(0.5),
    Gaussian(Uniform(0.2, 0.9)),
    Gaussian(Progressive(0.9, 0.1)),
    Masking(0.3),
    Masking(Uniform(0.1, 0.8)),
    SaltAndPepper(0.3, -1.0, 2.0),
    SaltAndPepper(Uniform(0.0, 1.0)),
    GaussianMasking(0.3, 0.7),
    GaussianMasking(Progressive(0.0, 0.6), 0.2),
    BlockMasking(0.3, 2, -1.0),
    BOUND,
    BOUND.at(0.4).bound(lambda: Reservoir(ROWS, torch.tensor([0, 0, 1, 2]))),
    Poisson(0.2),
    Poisson(Uniform(0.1, 0.5)),
    Speckle(0.3),
    Speckle(Uniform(0.1, 0.6)),
    Compose(Masking(0.3), Gaussian(0.2)),
    Compose(Gaussian(Uniform(0.1, 0.9)), SaltAndPepper(0.3)),
    Compose(GaussianMasking(0.5), Speckle(1.0)),
    Compose(Masking(0.5), Speckle(1.0)),
    Compose(SaltAndPepper(0.5, -1.0, 1.0), Speckle(Uniform(0.1, 0.6))),
    Compose(Poisson(0.2), Compose(BOUND, BlockMasking(0.2, value=0.5))),
    Compose(Clean(), Poisson(0.3)),
    OneOf([Clean(), Gaussian(0.8), Masking(1.0)]),
    Compose(OneOf([Masking(0.4), Poisson(0.3)]), GaussianMasking(0.2)),
]
DISCRETE = [Masking, SaltAndPepper, lambda ratio: SaltAndPepper(ratio, -1.0, 0.5)]
BIASED = [SaltAndPepper(0.5, 0.0, 2.0), BlockMasking(0.5, 1, 2.0), BOUND, Poisson(0.2)]
TWO_DISCRETE = OneOf([Masking(0.3), SaltAndPepper(0.6)])
DENSITIES = [Gaussian(0.3), Gaussian(1), Speckle(0.5), OneOf([Gaussian(0.2), Gaussian(0.9), Speckle(0.4)])]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(clean: Tensor, corruption: module.Corruption, count: int = 10_000) -> tuple[Tensor, Tensor]:
    clean = clean.expand(count, *clean.shape[1:])
    return corruption(clean, seeded()).noisy, clean


def assert_mean(draws: Tensor, expected: float) -> None:
    # five standard errors, and float32's rounding
    bound = 5 * draws.double().std().item() / sqrt(len(draws)) + 1e-6
    assert abs(draws.double().mean().item() - expected) < bound


@pytest.mark.parametrize("corruption", WITH_ERROR, ids=str)
def test_the_error_of_the_identity_is_that_of_samples(corruption):
    noisy, clean = many(CLEAN, corruption)
    expected = corruption.mean_squared_error_of_identity(CLEAN)
    assert expected.shape == (1,)
    assert_mean((noisy - clean).square().mean(1), expected.item())


@pytest.mark.parametrize("first", BIASED, ids=str)
def test_noise_of_the_size_of_what_another_left_is_that_of_samples(first):
    corruption, clean = Compose(first, Speckle(2.0)), torch.tensor([[-0.7, -0.1, -0.4, -1.0]])
    noisy, _ = many(clean, corruption)
    assert_mean((noisy - clean).square().mean(1), corruption.mean_squared_error_of_identity(clean).item())


@pytest.mark.parametrize(
    ("corruption", "expected"),
    [
        (Clean(), [0, 0]),
        (Gaussian(Uniform(1.0, 2.0)), [7 / 3, 7 / 3]),
        (Gaussian(Progressive(0.0, 2.0)), [4, 4]),
        (Masking(Uniform(0.0, 0.5)), [0.25 * 0.5, 0.25 * 2]),
        (SaltAndPepper(1.0, 0.0, 3.0), [(0 + 9 + 1 + 4) / 4, (4 + 1 + 0 + 9) / 4]),
        (Poisson(0.1), [0.05, 0.1 * 1]),
        (Poisson(0.0), [0, 0]),
        (Speckle(0.5), [0.125, 0.5]),
    ],
    ids=str,
)
def test_errors_of_the_identity_worked_out_by_hand(corruption, expected):
    clean = torch.tensor([[[0.0], [1.0]], [[2.0], [0.0]]], dtype=torch.float64)
    found = corruption.mean_squared_error_of_identity(clean)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    "level",
    [
        Fixed(0.3),
        Uniform(0.2, 0.7),
        Uniform(0.4, 0.4),
        LogUniform(0.1, 2.0),
        LogUniform(0.4, 0.4),
        Progressive(0.1, 0.9),
    ],
    ids=str,
)
@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_moments_of_levels_are_those_of_draws(level, power):
    assert_mean(level.draw(20_000, seeded(), 1.0) ** power, level.moment(power))


def outcomes(clean: Tensor, *values: float) -> Tensor:
    """All that can become of a sample (1, D) whose elements stay or take one of the values, (outcomes, D)."""
    return torch.tensor(list(product(*({one, *values} for one in clean[0].tolist()))), dtype=clean.dtype)


@pytest.mark.parametrize("kind", DISCRETE)
@quick
@given(
    ratio=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    clean=st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_probabilities_of_all_outcomes_sum_to_one(kind, ratio, clean, dtype):
    sample = torch.tensor([clean], dtype=dtype)
    every = outcomes(sample, -1.0, 0.0, 0.5, 1.0)
    found = kind(ratio).log_prob(every, sample.expand_as(every))
    assert found.dtype == dtype
    assert found.double().exp().sum().item() == pytest.approx(1, abs=2e-2 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("corruption", [*(kind(0.4) for kind in DISCRETE), TWO_DISCRETE], ids=str)
def test_outcomes_are_as_frequent_as_probable(corruption):
    sample = torch.tensor([[0.0, 0.3, 1.0]])
    noisy, _ = many(sample, corruption)
    every = outcomes(sample, -1.0, 0.0, 0.5, 1.0)
    chances = corruption.log_prob(every, sample.expand_as(every)).exp()
    assert chances.sum().item() == pytest.approx(1)
    for outcome, chance in zip(every, chances, strict=True):
        assert_mean((noisy == outcome).all(1).double(), chance.item())


def test_what_masking_leaves_no_choice_about_is_certain():
    zeros = torch.zeros(2, 1, 300, 300)
    for ratio in (0.0, 1e-9, 0.1, 0.3, 0.7, 1.0):
        assert Masking(ratio).log_prob(zeros, zeros).tolist() == [0.0, 0.0]
    found = SaltAndPepper(0.5).log_prob(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.0, 0.5]]))
    assert found.item() == pytest.approx(log(0.75) + log(0.25) + log(0.5))


@pytest.mark.parametrize("gain", [0.01, 1 / 30, 0.5, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_of_photons(gain, dtype):
    photons = torch.arange(400.0, dtype=dtype)[:, None]
    for clean, rate in ((0.5, 0.5 / gain), (0.0, 0.0), (-0.2, 0.0)):
        found = Poisson(gain).log_prob(gain * photons, torch.full_like(photons, clean))
        assert found.dtype == dtype and found.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
        if rate:
            reference = torch.distributions.Poisson(torch.tensor(rate, dtype=dtype)).log_prob(photons[:, 0])
            torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)
    between = gain * torch.tensor([[0.5], [1.01], [-1.0], [inf]], dtype=dtype)
    for clean in (0.5, 0.0):
        assert Poisson(gain).log_prob(between, torch.full_like(between, clean)).tolist() == [-inf] * 4
    noisy, clean = many(torch.tensor([[0.5, 0.03]], dtype=dtype), Poisson(gain), 1000)
    assert Poisson(gain).log_prob(noisy, clean).isfinite().all()


@pytest.mark.parametrize("corruption", [Masking(0.0), SaltAndPepper(0.0), Poisson(0.0), GaussianMasking(0.0)], ids=str)
def test_at_level_0_probabilities_are_those_of_the_identity(corruption):
    clean = torch.tensor([[0.3, -0.5], [0.2, 0.0]])
    noisy = torch.tensor([[0.3, -0.5], [0.2, 1.0]])
    assert corruption.log_prob(noisy, clean).tolist() == [0.0, -inf]


@pytest.mark.parametrize("corruption", [*DENSITIES, GaussianMasking(0.3, 0.4), GaussianMasking(1.0, 0.4)], ids=str)
@pytest.mark.parametrize("x", [0.8, -1.5])
def test_densities_integrate_to_one(corruption, x):
    grid = torch.linspace(-12, 12, 50_001, dtype=torch.float64)[:, None] + 1e-5 * pi
    clean = torch.full_like(grid, x)
    total = corruption.log_prob(grid, clean).exp().sum().item() * (grid[1] - grid[0]).item()
    atom = corruption.log_prob(clean[:1], clean[:1]).exp().item() if corruption == GaussianMasking(0.3, 0.4) else 0.0
    assert total + atom == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("corruption", "x"), [(GaussianMasking(0.3, 0.4), 0.8), (TWO_DISCRETE, 0.8), (Gaussian(2.0), 1)]
)
def test_the_mean_of_log_prob_is_the_negative_entropy(corruption, x):
    noisy, clean = many(torch.full((1, 3), float(x)), corruption)
    if isinstance(corruption, OneOf):
        every = outcomes(clean[:1], 0.0, 1.0)
        logs = corruption.log_prob(every, clean[:1].expand_as(every))
        expected = (logs.exp() * logs).sum().item()
    else:
        ratio, sigma = (0.3, 0.4) if isinstance(corruption, GaussianMasking) else (1.0, 2.0)
        choice = ratio * log(ratio) + (1 - ratio) * log(1 - ratio) if ratio < 1 else 0.0
        expected = 3 * (choice - ratio * 0.5 * log(2 * pi * e * sigma**2))
    assert_mean(corruption.log_prob(noisy, clean), expected)


@pytest.mark.parametrize("corruption", [Gaussian(0.3), Speckle(0.5)], ids=str)
@quick
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_the_score_is_the_gradient_of_log_prob(corruption, shape, dtype):
    clean = torch.rand(shape, generator=seeded(), dtype=dtype) + 0.1
    noisy = corruption(clean, seeded(1)).noisy.requires_grad_()
    logs = corruption.log_prob(noisy, clean)
    assert logs.shape == (shape[0],) and logs.dtype == dtype
    (gradient,) = torch.autograd.grad(logs.sum(), noisy)
    torch.testing.assert_close(corruption.score(noisy.detach(), clean), gradient)


@pytest.mark.parametrize("corruption", [Gaussian(0.3), Speckle(0.5)], ids=str)
def test_the_score_of_samples_is_0_on_average_and_as_large_as_the_information(corruption):
    noisy, clean = many(torch.tensor([[0.5, -2.0]]), corruption)
    score, scale = corruption.score(noisy, clean), 0.3 if isinstance(corruption, Gaussian) else 0.5 * clean[0].abs()
    for place in (0, 1):
        assert_mean(score[:, place], 0.0)
        assert_mean((score * scale)[:, place] ** 2, 1.0)


def test_where_all_elements_are_replaced_by_noise_the_clean_one_is_nothing_special():
    noisy, clean = torch.tensor([[0.5, 0.1]]), torch.tensor([[0.5, 0.7]])
    expected = Gaussian(0.4).log_prob(noisy, torch.zeros_like(noisy))
    torch.testing.assert_close(GaussianMasking(1.0, 0.4).log_prob(noisy, clean), expected)


def test_one_of_is_the_mean_over_its_choices():
    noisy, clean = torch.tensor([[0.1, 0.4], [9.0, 9.0]]), torch.tensor([[0.2, 0.5], [0.0, 0.1]])
    parts = [Gaussian(0.1), Gaussian(1.0)]
    expected = torch.stack([part.log_prob(noisy, clean).exp() for part in parts]).mean(0).log()
    torch.testing.assert_close(OneOf(parts).log_prob(noisy, clean)[:1], expected[:1])
    assert OneOf([Masking(0.5), SaltAndPepper(0.5)]).log_prob(noisy, clean).tolist() == [-inf, -inf]


POINTS = torch.full((2, 3), 0.5)
NONE = [Clean(), Recorded(), BlockMasking(), SwapNoise(), Scratches(), Blur(), JPEG(), Compose(Clean(), Gaussian())]


@pytest.mark.parametrize("corruption", NONE, ids=lambda one: type(one).__name__)
def test_log_probs_without_a_formula_are_errors(corruption):
    with pytest.raises(ValueError, match=f"^{type(corruption).__name__} has no log_prob: no formula"):
        corruption.log_prob(POINTS, POINTS)


@pytest.mark.parametrize("kind", [Masking, SaltAndPepper, GaussianMasking, Poisson, JPEG, Clean, SwapNoise])
def test_scores_without_a_density_are_errors(kind):
    with pytest.raises(ValueError, match=f"^{kind.__name__} has no score: .* is no density of a known formula"):
        kind().score(POINTS, POINTS)


@pytest.mark.parametrize(
    ("corruption", "said"),
    [
        (JPEG(), "JPEG has no mean_squared_error_of_identity"),
        (Compose(Gaussian(), Blur()), "Blur has no mean_squared_error_of_identity"),
        (Scratches(), "Scratches has no mean_squared_error_of_identity"),
        (SwapNoise(), r"takes values from the batch: use \.bound"),
        (Compose(Gaussian(), Poisson()), "Poisson after other noise has no"),
    ],
    ids=str,
)
def test_errors_of_the_identity_without_a_formula_are_errors(corruption, said):
    with pytest.raises(ValueError, match=said):
        corruption.mean_squared_error_of_identity(POINTS)


@pytest.mark.parametrize(
    ("corruption", "clean", "said"),
    [
        (Gaussian(Uniform(0.1, 0.2)), 0.5, r"Gaussian log_prob needs a fixed level, got Uniform.*: use \.at\(level\)"),
        (Masking(Progressive(0.1, 0.2)), 0.5, r"Masking log_prob needs a fixed level, got Progressive.*\.at\(level\)"),
        (OneOf([Poisson(Uniform(0.1, 0.2))]), 0.5, "Poisson log_prob needs a fixed level"),
        (Gaussian(0.0), 0.5, "Gaussian log_prob needs sigma > 0: at 0 it is a point mass"),
        (Speckle(0.0), 0.5, "Speckle log_prob needs sigma > 0: at 0 it is a point mass"),
        (Speckle(0.5), 0.0, "Speckle log_prob needs clean elements other than 0"),
        (GaussianMasking(0.5, 0.0), 0.5, "GaussianMasking log_prob needs sigma > 0"),
        (OneOf([Gaussian(), Masking()]), 0.5, r"all have densities or .*, got \['density', 'probability'\]"),
        (OneOf([Masking(), JPEG()]), 0.5, r"got \['probability', None\]"),
        (OneOf([GaussianMasking()]), 0.5, r"OneOf log_prob needs choices .*, got \[None\]"),
    ],
    ids=str,
)
def test_log_probs_that_a_level_or_a_sample_does_not_leave_are_errors(corruption, clean, said):
    with pytest.raises(ValueError, match=said):
        corruption.log_prob(POINTS, torch.full_like(POINTS, clean))


@pytest.mark.parametrize(("corruption", "said"), [(Gaussian(0.0), "sigma > 0"), (Gaussian(Uniform()), "fixed level")])
def test_scores_that_a_level_does_not_leave_are_errors(corruption, said):
    with pytest.raises(ValueError, match=f"Gaussian score needs .*{said}"):
        corruption.score(POINTS, POINTS)


@pytest.mark.parametrize("kind", ["Gaussian", "Masking", "SaltAndPepper", "GaussianMasking", "Poisson", "Speckle"])
def test_shapes_that_differ_and_whole_numbers_are_errors_without_the_type_checks_of_these_tests_too(kind, unchecked):
    corruption = getattr(unchecked(module), kind)()
    for other in (torch.rand(2, 1), torch.rand(3), torch.rand(1, 3), torch.rand(2, 3, 1)):
        with pytest.raises(
            ValueError, match=rf"{kind} log_prob needs noisy and clean of one shape, got \(2, 3\) and \("
        ):
            corruption.log_prob(POINTS, other)
    for whole in ((POINTS.int(), POINTS), (POINTS, POINTS.int())):
        with pytest.raises(ValueError, match=r"got torch.int32: divide by 255"):
            corruption.log_prob(*whole)
    with pytest.raises(ValueError, match=r"got torch.uint8: divide by 255"):
        corruption.mean_squared_error_of_identity(POINTS.to(torch.uint8))
