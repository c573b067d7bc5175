"""Densities against quadrature, autograd and each other."""

from math import pi

import pytest
import torch
from sklearn.mixture import GaussianMixture as Reference
from torch import Tensor

from daezoo.densities import Curve, Density, Gaussian, GaussianMixture, circle, empirical, spiral, swiss_roll

MIXED = GaussianMixture([0.2, 0.5, 0.3], [[-1.0], [0.2], [1.5]], [0.3, 0.0, 0.6])
PLANE = GaussianMixture([1, 3], [[0.0, 1.0], [1.0, -0.5]], [0.3, 0.5])
WIDE = Gaussian([0.5, -1.0, 0.0], [[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])
ALL: dict[str, Density] = {
    "mixture of a point and two widths": MIXED,
    "mixture in the plane": PLANE,
    "Gaussian": WIDE,
    "empirical": empirical(torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0))),
    "circle": circle(places=300),
    "spiral": spiral(places=300),
    "swiss roll": swiss_roll(places=60, rows=8),
}
each = pytest.mark.parametrize("density", ALL.values(), ids=ALL.keys())


def noisy_points(density: Density, sigma: float = 0.4, count: int = 30) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    clean = density.sample(count, draw)
    return clean + sigma * torch.randn(clean.shape, generator=draw, dtype=clean.dtype)


def test_a_mixture_on_the_line_against_quadrature():
    sigma, width = 0.4, 1e-3
    grid = torch.arange(-9, 9, width, dtype=torch.float64)
    noisy = torch.linspace(-3, 3, 25, dtype=torch.float64)
    kernel = torch.distributions.Normal(noisy[:, None], torch.tensor(sigma, dtype=torch.float64))
    # the components of width by quadrature, the point by hand
    smooth = sum(
        weight * torch.distributions.Normal(mean, width_k).log_prob(grid).exp()
        for weight, mean, width_k in ((0.2, -1.0, 0.3), (0.3, 1.5, 0.6))
    )
    joint = smooth * kernel.log_prob(grid).exp() * width
    point = 0.5 * kernel.log_prob(torch.full((25, 1), 0.2, dtype=torch.float64)).exp().squeeze(1)
    density = joint.sum(1) + point
    mean = (joint @ grid + 0.2 * point) / density
    variance = ((joint * (grid - mean[:, None]).square()).sum(1) + (0.2 - mean).square() * point) / density
    x = noisy[:, None]
    assert torch.allclose(MIXED.log_prob(x, sigma).exp(), density, atol=1e-12)
    assert torch.allclose(MIXED.posterior_mean(x, sigma).squeeze(1), mean, atol=1e-10)
    assert torch.allclose(MIXED.posterior_variance(x, sigma), variance, atol=1e-10)


def test_a_mixture_of_widths_is_that_of_scikit_learn():
    reference = Reference(2, covariance_type="spherical")
    reference.weights_, reference.means_ = PLANE.weights.numpy(), PLANE.means.numpy()
    reference.covariances_ = PLANE.sigmas.square().numpy()
    reference.precisions_cholesky_ = 1 / PLANE.sigmas.numpy()
    x = noisy_points(PLANE)
    assert torch.allclose(PLANE.log_prob(x), torch.from_numpy(reference.score_samples(x.numpy())), atol=1e-12)


def test_a_gaussian_is_that_of_torch():
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    mean = torch.tensor([0.5, -1.0], dtype=torch.float64)
    reference = torch.distributions.MultivariateNormal(mean, covariance + 0.09 * torch.eye(2))
    x = noisy_points(Gaussian(mean, covariance))
    assert torch.allclose(Gaussian(mean, covariance).log_prob(x, 0.3), reference.log_prob(x), atol=1e-12)


@each
@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_the_score_is_the_gradient_of_the_log_density(density, sigma):
    x = noisy_points(density, sigma).requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(x, sigma).sum(), x)
    assert torch.allclose(density.score(x.detach(), sigma), gradient, rtol=1e-9, atol=1e-9)


@each
@pytest.mark.parametrize("sigma", [0.05, 0.4, 3.0])
def test_tweedie(density, sigma):
    x = noisy_points(density, sigma)
    expected = x + sigma**2 * density.score(x, sigma)
    assert torch.allclose(density.posterior_mean(x, sigma), expected, rtol=1e-10, atol=1e-12)


@each
def test_the_posterior_variance_is_the_derivative_of_the_posterior_mean(density):
    # of second order: Cov[x | x̃] = σ² ∂E[x | x̃] / ∂x̃
    x = noisy_points(density, count=5)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: density.posterior_mean(one[None], 0.4)[0]))(x)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    assert torch.allclose(density.posterior_variance(x, 0.4), 0.16 * trace, rtol=1e-8, atol=1e-10)


@each
def test_samples_have_the_moments_of_the_density(density):
    samples = density.sample(40_000, torch.Generator().manual_seed(2))
    assert samples.dtype == torch.float64
    error = samples.std(0) / 200
    assert ((samples.mean(0) - density.mean).abs() <= 5 * error + 1e-4).all()
    # p_σ is normalised and is what noisy samples follow: E log p_σ is largest for the true σ
    noisy = samples[:4000] + 0.4 * torch.randn(4000, density.dimensions, dtype=torch.float64)
    likelihoods = [density.log_prob(noisy, sigma).mean() for sigma in (0.3, 0.4, 0.55)]
    assert likelihoods[1] > max(likelihoods[0], likelihoods[2])


def test_a_density_in_the_plane_integrates_to_one():
    axis = torch.arange(-4, 4, 0.1, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for density in (PLANE, circle(places=200), spiral(places=200)):
        assert density.log_prob(grid, 0.3).exp().sum().item() * 0.1**2 == pytest.approx(1, abs=1e-6)


def test_the_bayes_risk_of_a_gaussian_is_known_and_below_that_of_the_identity():
    expected = sum(
        v * 0.25 / (v + 0.25) for v in torch.linalg.eigvalsh(torch.tensor([[2.0, 0.5], [0.5, 1.0]])).tolist()
    )
    risk, error = WIDE.bayes_risk(0.5, 100)
    assert risk == pytest.approx(expected, rel=1e-6) and error == pytest.approx(0, abs=1e-12)
    for density in ALL.values():
        risk, error = density.bayes_risk(0.5, 2000, torch.Generator().manual_seed(0))
        assert 0 < risk < 0.25 * density.dimensions
        clean = density.sample(2000, torch.Generator().manual_seed(3))
        noisy = clean + 0.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4), dtype=clean.dtype)
        errors = (density.posterior_mean(noisy, 0.5) - clean).square().sum(1)
        assert errors.mean().item() == pytest.approx(risk, abs=5 * (error + errors.std().item() / 2000**0.5))


def test_every_point_may_have_its_own_noise_and_chunks_change_nothing(monkeypatch):
    x, sigmas = noisy_points(MIXED), torch.linspace(0.1, 2, 30)
    whole = MIXED.score(x, sigmas)
    for k in (0, 29):
        assert torch.allclose(whole[k], MIXED.score(x[k : k + 1], sigmas[k].item())[0])
    monkeypatch.setattr("daezoo.densities.CHUNK", 8)
    assert torch.allclose(MIXED.score(x, sigmas), whole)
    assert MIXED.score(x[:0], 0.5).shape == (0, 1)


def test_a_circle_and_its_projection():
    noisy = noisy_points(circle(2.0), 0.1, 200)
    near = circle(2.0).project(noisy)
    assert torch.allclose(near, 2 * noisy / noisy.norm(dim=1, keepdim=True), atol=4e-3)
    # in the plane, p_σ of a circle has a closed form in a Bessel function
    radius, sigma = noisy.norm(dim=1), torch.tensor(0.5, dtype=torch.float64)
    expected = (
        torch.special.i0e(2 * radius / sigma**2).log()
        - (radius - 2).square() / (2 * sigma**2)
        - (2 * pi * sigma**2).log()
    )
    assert torch.allclose(circle(2.0).log_prob(noisy, 0.5), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GaussianMixture([1.0], [[0.0], [1.0]], [1.0]), r"weights \(K,\), means \(K, D\) and sigmas \(K,\)"),
        (lambda: GaussianMixture([0.0], [[0.0]], [1.0]), "weights > 0"),
        (lambda: GaussianMixture([1.0], [[0.0]], [-1.0]), "sigmas >= 0"),
        (lambda: GaussianMixture([1.0], [[float("nan")]], [1.0]), "finite means"),
        (lambda: Gaussian([0.0], [[1.0, 0.0]]), r"mean \(D,\) and covariance \(D, D\)"),
        (lambda: Gaussian([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: Gaussian([0.0], [[-1.0]]), "eigenvalues >= 0"),
        (lambda: Curve(torch.zeros(3, 2)), "each apart from the next"),
        (lambda: PLANE.log_prob(torch.zeros(3, 3)), r"shape \(batch, 2\), got \(3, 3\)"),
        (lambda: MIXED.log_prob(torch.zeros(3, 1)), "sigma must be > 0, got 0"),
        (lambda: PLANE.score(torch.zeros(3, 2), -1.0), "sigma must be > 0, got -1"),
        (lambda: WIDE.log_prob(torch.zeros(3, 3)), "sigma must be > 0"),
    ],
)
def test_what_is_no_density_is_an_error(make, said):
    with pytest.raises(ValueError, match=said):
        make()
