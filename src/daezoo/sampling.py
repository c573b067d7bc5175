"""Samples from what an autoencoder has learned.

A denoiser here is a function (noisy samples, σ) → E[x | noisy]: `model.denoise`, or the posterior mean of a density of
`daezoo.densities`, with which a sampler can be held against what it should give.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from daezoo.corruption import Corruption
from daezoo.losses import CrossEntropy
from daezoo.models import DenoisingAutoencoder, PreconditionedDAE, StackedDAE

Denoiser = Callable[[Tensor, float], Tensor]
Watch = Callable[[Tensor], None]
"""What is called with the samples after every step: for a progress bar, or frames."""


def ignore(samples: Tensor) -> None:
    """Nothing."""


class Measurement(ABC):
    """What is known of samples: y = A x, A a linear map whose rows are orthogonal."""

    @abstractmethod
    def consistent(self, samples: Tensor) -> Tensor:
        """The samples nearest to those given, (batch, *dims), with A x = y."""

    @abstractmethod
    def take(self, rows: Tensor, device: torch.device | None = None) -> "Measurement":
        """What is known of some of the samples, by their places; on another device, if one is given."""


@dataclass(frozen=True)
class Known(Measurement):
    """Some elements are known: y = x where `mask` is True.

    Args:
        samples: (batch, *dims); what they have where the mask is False is not looked at.
        mask: (batch, *dims).
    """

    samples: Tensor
    mask: Tensor

    def consistent(self, samples: Tensor) -> Tensor:
        """The samples with the known elements put in."""
        return torch.where(self.mask, self.samples, samples)

    def take(self, rows: Tensor, device: torch.device | None = None) -> "Known":
        """What is known of some of the samples."""
        return Known(self.samples[rows].to(device), self.mask[rows].to(device))


@dataclass(frozen=True)
class Means(Measurement):
    """The means of blocks of `factor` x `factor` pixels are known: what super-resolution starts from.

    Args:
        small: The means, (batch, C, H / factor, W / factor).
        factor: Side of a block.
    """

    small: Tensor
    factor: int = 2

    def consistent(self, samples: Tensor) -> Tensor:
        """The samples, every block shifted to its mean."""
        lacking = self.small - F.avg_pool2d(samples, self.factor)
        return samples + lacking.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)

    def take(self, rows: Tensor, device: torch.device | None = None) -> "Means":
        """What is known of some of the samples."""
        return Means(self.small[rows].to(device), self.factor)


def score(denoise: Denoiser, noisy: Tensor, sigma: float) -> Tensor:
    """∇ log p_σ of noisy samples, (r(x̃, σ) − x̃) / σ² (Vincent, 2011); for Gaussian noise only.

    Args:
        denoise: r, such as the `denoise` of a model.
        noisy: Samples, (batch, *dims).
        sigma: σ > 0.

    Raises:
        ValueError: If σ is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"There is a score under noise only: sigma must be > 0, got {sigma}.")
    return (denoise(noisy, sigma) - noisy) / sigma**2


def of_class(model: PreconditionedDAE, label: Tensor, guidance: float = 1.0) -> Denoiser:
    """The denoiser of samples of known classes, r(x̃, σ) + w (r(x̃, σ | c) − r(x̃, σ)) (Ho and Salimans, 2022).

    Args:
        model: Trained with classes.
        label: c of each sample, (batch,).
        guidance: w >= 0: at 1 the class's own denoiser; above, samples are surer of their class and less varied.

    Raises:
        ValueError: If the model was told no classes, a label is none of them, or guidance is negative.
    """
    model.check_told_classes()
    if not (guidance >= 0 and label.min() >= 0 and label.max() < model.classes):
        raise ValueError(
            f"Labels must lie in 0 to {model.classes - 1} and guidance be at least 0, got {label.unique().tolist()} "
            f"and {guidance}."
        )

    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        told = model(noisy, sigma, label).float()
        return told if guidance == 1 else torch.lerp(model(noisy, sigma).float(), told, guidance)

    return denoise


def ladder(lowest: float, highest: float, steps: int, rho: float = 7.0) -> list[float]:
    """Falling noise levels and 0 after them, σᵢ = (a + i/(steps − 1) (b − a))^ρ, a and b the ends' ρ-th roots.

    From Karras et al. (2022); a large ρ takes more of its steps at low levels.

    Args:
        lowest: The last level before 0, > 0.
        highest: The first, > lowest.
        steps: How many levels, >= 2.
        rho: ρ > 0.

    Raises:
        ValueError: If a number lies out of range.
    """
    if not (0 < lowest < highest < float("inf") and steps >= 2 and rho > 0):
        raise ValueError(
            f"A ladder needs 0 < lowest < highest, two steps or more and rho > 0, got {lowest=}, {highest=}, {steps=}, "
            f"{rho=}."
        )
    start, stop = highest ** (1 / rho), lowest ** (1 / rho)
    inner = [(start + i / (steps - 1) * (stop - start)) ** rho for i in range(1, steps - 1)]
    return [highest, *inner, lowest, 0.0]


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)


def fitting(denoise: Denoiser, x: Tensor, level: float, known: Measurement, data_std: float) -> Tensor:
    """E[x | x̃, y]: the reconstruction of noisy samples of which something is known (Song et al., 2023, ΠGDM).

    r + σ²/v · J(x̃)ᵀ A⁺(y − A r), J the Jacobian of r, v = σ² s² / (σ² + s²): exact if the elements of x given x̃ were
    independent, of variance v, as those of white data are. What is known is then put in.

    Args:
        denoise: r, which is differentiated.
        x: x̃, (batch, *dims).
        level: σ.
        known: y and A.
        data_std: s, in data units.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        clean = denoise(x, level)
        lacking = known.consistent(clean.detach()) - clean.detach()
        (back,) = torch.autograd.grad(clean, x, lacking)
    return known.consistent(clean.detach() + (level**2 + data_std**2) / data_std**2 * back)


@torch.no_grad()
def heun(
    denoise: Denoiser,
    start: Tensor,
    levels: list[float],
    churn: float = 0.0,
    generator: torch.Generator | None = None,
    known: Measurement | None = None,
    data_std: float = 0.5,
    watch: Watch = ignore,
) -> Tensor:
    """Samples along dx = (x − r(x, σ)) / σ dσ, the probability-flow ODE, by Heun's rule (Karras et al., 2022).

    With `churn`, noise is added before every step and the step made as much longer, which forgets errors.

    Args:
        denoise: r.
        start: Samples at the first level: those of N(0, σ² I), at a level that drowns the data, (batch, *dims).
        levels: Falling, and 0 at the end, such as of `ladder`.
        churn: γ in [0, √2 − 1]: before a step σ grows to (1 + γ) σ.
        generator: Of the added noise, on the samples' device; torch's global one if None.
        known: What the samples are to agree with: then r is `fitting`.
        data_std: Of the data's elements; for `known`.
        watch: Called with the reconstructions of every level.

    Returns:
        Samples, (batch, *dims), exactly as known if anything is.

    Raises:
        ValueError: If churn lies out of range.
    """
    if not 0 <= churn <= 2**0.5 - 1:
        raise ValueError(f"heun needs churn in [0, 0.414], got {churn}.")

    def clean_of(x: Tensor, level: float) -> Tensor:
        return denoise(x, level) if known is None else fitting(denoise, x, level, known, data_std)

    x = start
    for level, after in pairwise(levels):
        raised = (1 + churn) * level
        if churn:
            x = x + (raised**2 - level**2) ** 0.5 * _normal(x, generator)
        clean = clean_of(x, raised)
        slope = (x - clean) / raised
        ahead = x + (after - raised) * slope
        if after > 0:
            ahead = x + (after - raised) * (slope + (ahead - clean_of(ahead, after)) / after) / 2
        x = ahead
        watch(clean)
    return x if known is None else known.consistent(x)


@torch.inference_mode()
def langevin(
    denoise: Denoiser,
    start: Tensor,
    levels: Iterable[float],
    steps: int = 10,
    rate: float = 0.2,
    generator: torch.Generator | None = None,
    watch: Watch = ignore,
) -> Tensor:
    """Samples by annealed Langevin dynamics: x ← x + α/2 ∇ log p_σ(x) + √α ε, α = rate · σ² (Song and Ermon, 2019).

    Args:
        denoise: r, whose score is taken.
        start: Samples at the first level, (batch, *dims).
        levels: Falling; a 0 at the end is left out.
        steps: At every level, >= 1.
        rate: Of a step, in (0, 2).
        generator: On the samples' device; torch's global one if None.
        watch: Called with the reconstructions of every level.

    Returns:
        The reconstructions of the last samples, (batch, *dims): without the noise of the lowest level.

    Raises:
        ValueError: If a number lies out of range.
    """
    if steps < 1 or not 0 < rate < 2:
        raise ValueError(f"langevin needs steps >= 1 and a rate in (0, 2), got {steps} and {rate}.")
    x = clean = start
    for level in levels:
        if level == 0:
            break
        for _ in range(steps):
            clean = denoise(x, level)
            x = x + rate / 2 * (clean - x) + rate**0.5 * level * _normal(x, generator)
        clean = denoise(x, level)
        watch(clean)
    return clean


@torch.inference_mode()
def chain(
    model: DenoisingAutoencoder,
    corruption: Corruption,
    start: Tensor,
    steps: int,
    sampled: bool = True,
    generator: torch.Generator | None = None,
    watch: Watch = ignore,
) -> Tensor:
    """The chain of a generative stochastic network: x̃ ~ q(· | x), x ~ p(· | r(x̃)), and again (Bengio et al., 2013).

    Its stationary distribution is that of the data, as far as r is right; walkback training makes r right there.

    Args:
        model: Trained under the corruption.
        corruption: q.
        start: Samples it begins with, (batch, *dims).
        steps: How many, >= 1.
        sampled: Whether x is sampled; else it is the mean.
        generator: On the samples' device; torch's global one if None.
        watch: Called with the mean reconstructions of every step.

    Returns:
        The last mean reconstructions, (batch, *dims).

    Raises:
        ValueError: If there are no steps, or the model's loss has no distribution to sample.
    """
    if steps < 1:
        raise ValueError(f"A chain needs one step or more, got {steps}.")
    x, mean = start, start
    for _ in range(steps):
        noisy, level, _ = corruption(x, generator)
        output = model(noisy, level).float()
        mean = model.loss.link(output)
        x = model.loss.sample(output, generator) if sampled else mean
        watch(mean)
    return mean


@torch.inference_mode()
def sample_top_down(model: StackedDAE, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Samples of a stack of logistic units, from its top layer down (Vincent et al., 2010).

    h_{l−1} ~ Bernoulli(σ(W'_l h_l + b'_l)) for each layer but the lowest, σ the logistic function; the lowest gives
    means, σ(W'_1 h_1 + b'_1).

    Args:
        model: The stack, trained under cross-entropy.
        codes: Of its top layer, in [0, 1], (batch, hidden[-1]): such as those of data, or Bernoulli draws from them.
        generator: On the device of the codes; torch's global one if None.

    Returns:
        Mean samples, (batch, *shape).

    Raises:
        ValueError: If its units are not logistic, its loss is another, or codes are not probabilities.
    """
    if model.activation != "sigmoid" or not isinstance(model.loss, CrossEntropy):
        raise ValueError(
            "Top-down sampling needs logistic units under cross-entropy, whose outputs are probabilities; got "
            f"{model.activation} and {type(model.loss).__name__}. Train with --model.activation sigmoid."
        )
    if not (codes.min() >= 0 and codes.max() <= 1):
        raise ValueError(f"Codes must lie in [0, 1], got {codes.min():g} to {codes.max():g}.")
    first, *others = model.network.layers
    for layer in reversed(others):
        codes = torch.bernoulli(layer.decode(codes).sigmoid(), generator=generator)
    return first.decode(codes).sigmoid().view(-1, *model.shape)
