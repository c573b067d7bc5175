"""Densities of which everything is known: what a denoiser, a score or a sampler may be held against.

Under Gaussian noise x̃ = x + σ ε, ε ~ N(0, I), each gives the noisy density p_σ, its score ∇ log p_σ, the posterior mean
E[x | x̃], which is the best denoiser under squared error, and that denoiser's risk. All in float64.

>>> import torch
>>> two = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.2, 0.2])
>>> two.posterior_mean(torch.zeros(1, 1), 0.5)
tensor([[0.]], dtype=torch.float64)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import log, pi

import torch
from torch import Tensor

Points = Tensor | Sequence[Sequence[float]]
CHUNK = 2**24
"""Distances between points that are held at once."""


class Density(ABC):
    """A density p of points x, (batch, D).

    Attributes:
        mean: E x, (D,).
        dimensions: D.
    """

    mean: Tensor
    dimensions: int

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Points drawn from p, (count, D), on the CPU; from torch's global generator if None is given."""

    @abstractmethod
    def log_prob(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """The logarithm of p_σ at points (batch, D), (batch,); σ >= 0 is a number, or one of each point, (batch,)."""

    @abstractmethod
    def posterior_mean(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[x | x̃] of noisy points (batch, D)."""

    @abstractmethod
    def posterior_variance(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[‖x − E[x | x̃]‖² | x̃] of noisy points (batch, D), (batch,)."""

    @abstractmethod
    def score(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """∇ log p_σ(x) of points (batch, D)."""

    def bayes_risk(
        self, sigma: float, count: int = 20_000, generator: torch.Generator | None = None
    ) -> tuple[float, float]:
        """The least mean squared error that a denoiser can have, E‖x − E[x | x̃]‖², summed over dimensions.

        Args:
            sigma: Of the noise, > 0.
            count: Noisy points over which the posterior variance is averaged, >= 2.
            generator: Where they are drawn from.

        Returns:
            The estimate and its standard error.
        """
        clean = self.sample(count, generator)
        noisy = clean + sigma * torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
        found = self.posterior_variance(noisy, sigma)
        return found.mean().item(), found.std().item() / count**0.5

    def points(self, x: Tensor) -> Tensor:
        """Points as float64.

        Raises:
            ValueError: If they are not (batch, D).
        """
        if x.ndim != 2 or x.shape[1] != self.dimensions:
            raise ValueError(f"Expected points of shape (batch, {self.dimensions}), got {tuple(x.shape)}.")
        return x.double()


class GaussianMixture(Density):
    """p(x) = Σₖ wₖ N(x; μₖ, sₖ² I); a component of s = 0 is a point.

    Noise adds to the variances: p_σ(x) = Σₖ wₖ N(x; μₖ, (sₖ² + σ²) I). With γₖ(x̃) the probability that x̃ came from
    component k, ∇ log p_σ(x̃) = Σₖ γₖ (μₖ − x̃) / (sₖ² + σ²) and E[x | x̃] = Σₖ γₖ (sₖ² x̃ + σ² μₖ) / (sₖ² + σ²).

    Args:
        weights: wₖ > 0, (K,); divided by their sum.
        means: μₖ, (K, D).
        sigmas: sₖ >= 0, (K,).

    Raises:
        ValueError: If shapes do not fit, or numbers lie out of range.
    """

    def __init__(self, weights: Tensor | Sequence[float], means: Points, sigmas: Tensor | Sequence[float]) -> None:
        self.weights, self.means, self.sigmas = (
            torch.as_tensor(value, dtype=torch.float64) for value in (weights, means, sigmas)
        )
        shapes = [tuple(value.shape) for value in (self.weights, self.means, self.sigmas)]
        if self.means.ndim != 2 or not self.means.numel() or shapes[0] != shapes[2] or shapes[0] != shapes[1][:1]:
            raise ValueError(f"A mixture needs weights (K,), means (K, D) and sigmas (K,), got {shapes}.")
        finite = all(value.isfinite().all() for value in (self.weights, self.means, self.sigmas))
        if not (finite and (self.weights > 0).all() and (self.sigmas >= 0).all()):
            raise ValueError("A mixture needs weights > 0, finite means, and sigmas >= 0.")
        self.weights = self.weights / self.weights.sum()
        self.mean = self.weights @ self.means
        self.dimensions = self.means.shape[1]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """As the base says."""
        drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.dimensions, generator=generator, dtype=torch.float64)
        return self.means[drawn] + self.sigmas[drawn, None] * noise

    def log_prob(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """As the base says."""
        return self._by_chunk(lambda x, sigma: self._joint(x, sigma).logsumexp(1), x, sigma)

    def score(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """As the base says."""

        def of(x: Tensor, sigma: Tensor) -> Tensor:
            pull = self._joint(x, sigma).softmax(1) / self._variances(sigma)
            return pull @ self.means - pull.sum(1, keepdim=True) * x

        return self._by_chunk(of, x, sigma)

    def posterior_mean(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """As the base says."""
        return self._by_chunk(lambda x, sigma: self._moments(x, sigma)[0], x, sigma)

    def posterior_variance(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """As the base says."""
        return self._by_chunk(lambda x, sigma: self._moments(x, sigma)[1], x, sigma)

    def _moments(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of x given x̃, and its variance: that within components, and that between their means."""
        probable, kept = self._joint(x, sigma).softmax(1), self.sigmas.square() / self._variances(sigma)
        drawn, held = probable * (1 - kept), (probable * kept).sum(1, keepdim=True)
        mean = drawn @ self.means + held * x
        within = self.dimensions * (probable * kept).sum(1) * sigma.square().squeeze(1)
        # ‖mₖ − m‖² for mₖ = keptₖ x̃ + (1 − keptₖ) μₖ, written with distances from m, which do not cancel
        far = (x - mean).square().sum(1, keepdim=True)
        across = (x - mean) @ self.means.T - ((x - mean) * mean).sum(1, keepdim=True)
        apart = self._distances(mean)
        between = kept.square() * far + 2 * kept * (1 - kept) * across + (1 - kept).square() * apart
        return mean, within + (probable * between).sum(1)

    def _joint(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The logarithm of wₖ N(x; μₖ, (sₖ² + σ²) I), (batch, K)."""
        variances = self._variances(sigma)
        normal = -self._distances(x) / (2 * variances) - self.dimensions / 2 * (2 * pi * variances).log()
        return self.weights.log() + normal

    def _variances(self, sigma: Tensor) -> Tensor:
        return self.sigmas.square() + sigma.square()

    def _distances(self, x: Tensor) -> Tensor:
        """‖x − μₖ‖², (batch, K), around the mean, where least cancels."""
        x, means = x - self.mean, self.means - self.mean
        return (x.square().sum(1, keepdim=True) + means.square().sum(1) - 2 * x @ means.T).clamp_min(0)

    def _by_chunk(self, of: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigma: float | Tensor) -> Tensor:
        x = self.points(x)
        levels = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x))[:, None]
        smallest = levels.min() if len(x) else torch.ones(())
        if smallest < 0 or (smallest == 0 and not self.sigmas.all()):
            raise ValueError(f"Points have a density only under noise: sigma must be > 0, got {smallest:g}.")
        size = max(1, CHUNK // len(self.weights))
        return torch.cat([of(*part) for part in zip(x.split(size), levels.split(size), strict=True)])


class Gaussian(Density):
    """p(x) = N(x; μ, Σ). The best denoiser is linear: E[x | x̃] = μ + Σ (Σ + σ² I)⁻¹ (x̃ − μ).

    Args:
        mean: μ, (D,).
        covariance: Σ, (D, D), symmetric, eigenvalues >= 0.

    Raises:
        ValueError: If shapes do not fit, or Σ is no covariance.
    """

    def __init__(self, mean: Tensor | Sequence[float], covariance: Points) -> None:
        self.mean, covariance = (torch.as_tensor(value, dtype=torch.float64) for value in (mean, covariance))
        if self.mean.ndim != 1 or covariance.shape != (len(self.mean),) * 2:
            raise ValueError(
                f"A Gaussian needs mean (D,) and covariance (D, D), got {tuple(self.mean.shape)} and "
                f"{tuple(covariance.shape)}."
            )
        if not torch.allclose(covariance, covariance.T):
            raise ValueError("The covariance must be symmetric.")
        self.dimensions = len(self.mean)
        self.variances, self.directions = torch.linalg.eigh(covariance)
        if self.variances.min() < -1e-9 * self.variances.abs().max():
            raise ValueError(f"The covariance must have eigenvalues >= 0, got {self.variances.min():g}.")
        self.variances = self.variances.clamp_min(0)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """As the base says."""
        noise = torch.randn(count, self.dimensions, generator=generator, dtype=torch.float64)
        return self.mean + (noise * self.variances.sqrt()) @ self.directions.T

    def log_prob(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """As the base says."""
        along, variances, _ = self._along(x, sigma)
        return -(along.square() / variances + variances.log() + log(2 * pi)).sum(1) / 2

    def score(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        """As the base says."""
        along, variances, _ = self._along(x, sigma)
        return -(along / variances) @ self.directions.T

    def posterior_mean(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """As the base says."""
        along, variances, _ = self._along(x, sigma)
        return self.mean + (along * self.variances / variances) @ self.directions.T

    def posterior_variance(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """As the base says; it is the same for all points."""
        _, variances, levels = self._along(x, sigma)
        return (self.variances * levels.square() / variances).sum(1)

    def _along(self, x: Tensor, sigma: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places along the eigenvectors, the noisy variances there, and σ of each point."""
        x = self.points(x)
        levels = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x))[:, None]
        variances = self.variances + levels.square()
        if not (variances > 0).all():
            raise ValueError("A Gaussian without width has a density only under noise: sigma must be > 0.")
        return (x - self.mean) @ self.directions, variances, levels


class Curve(GaussianMixture):
    """Points spread evenly along a curve, by its length: so many that they cannot be told from it.

    Args:
        places: Points along the curve, in order, (K, D), K >= 2, close together against any σ of interest.

    Raises:
        ValueError: If there are fewer than two, or two in a row are the same.
    """

    def __init__(self, places: Tensor) -> None:
        places = places.double()
        steps = (places[1:] - places[:-1]).norm(dim=1)
        if len(steps) < 1 or not (steps > 0).all():
            raise ValueError("A curve needs two places or more, each apart from the next.")
        self.places = places
        self.lengths = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
        weights = torch.zeros(len(places), dtype=torch.float64)  # the trapezoidal rule
        weights[1:] += steps / 2
        weights[:-1] += steps / 2
        super().__init__(weights, places, torch.zeros(len(places)))

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Points of the curve itself, between its places too."""
        along = torch.rand(count, generator=generator, dtype=torch.float64) * self.lengths[-1]
        after = torch.searchsorted(self.lengths, along).clamp(1, len(self.lengths) - 1)
        start, end = self.lengths[after - 1], self.lengths[after]
        share = ((along - start) / (end - start))[:, None]
        return (1 - share) * self.places[after - 1] + share * self.places[after]

    def project(self, x: Tensor) -> Tensor:
        """The nearest place of the curve for points (batch, D)."""
        return self.places[self._distances(self.points(x)).argmin(1)]


def empirical(samples: Tensor) -> GaussianMixture:
    """The empirical distribution of samples (N, *shape), flattened: under noise, what a denoiser of them can learn."""
    means = samples.flatten(1)
    return GaussianMixture(torch.ones(len(means)), means, torch.zeros(len(means)))


def circle(radius: float = 1.0, places: int = 2000) -> Curve:
    """Uniform on a circle around the origin of the plane."""
    angle = torch.linspace(0, 2 * pi, places + 1, dtype=torch.float64)
    return Curve(radius * torch.stack([angle.cos(), angle.sin()], 1))


def spiral(turns: float = 1.5, places: int = 4000) -> Curve:
    """Uniform on an Archimedean spiral in the plane, from radius 0.2 to 1."""
    angle = torch.linspace(0, 2 * pi * turns, places, dtype=torch.float64)
    radius = 0.2 + 0.8 * angle / angle[-1]
    return Curve(radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1))


def swiss_roll(turns: float = 1.5, height: float = 1.0, places: int = 400, rows: int = 40) -> GaussianMixture:
    """Uniform on a rolled-up sheet in three dimensions: the spiral, at every height from 0."""
    line = spiral(turns, places)
    heights = (torch.arange(rows, dtype=torch.float64) + 0.5) * height / rows
    sheet = torch.cat([line.places.repeat_interleave(rows, 0), heights.repeat(len(line.places))[:, None]], 1)
    return GaussianMixture(line.weights.repeat_interleave(rows), sheet, torch.zeros(len(sheet)))
