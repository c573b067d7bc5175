"""The variational denoising autoencoder."""

from collections.abc import Callable, Sequence
from math import inf, log, prod

import torch
from torch import Tensor

from daezoo.batch import Batch, Noise
from daezoo.corruption import Gaussian
from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.mlp import Activation, Perceptron
from daezoo.optim import Optimizer
from daezoo.randomness import SampleNoise

DRAWS = 64
"""Codes of a sample that are decoded at once for its likelihood. Another number is other noise."""


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½ Σⱼ (μⱼ² + σⱼ² − 1 − ln σⱼ²) of each sample, (batch,)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


class VariationalDAE(DenoisingAutoencoder):
    """A decoder of random codes h ~ N(0, I), and an encoder q(h | x̃) = N(μ(x̃), diag σ²(x̃)).

    Minimises E −log p(x | h) + β KL(q(h | x̃) ‖ N(0, I)), h = μ + σε with ε ~ N(0, I). Without corruption and with
    β = 1 this is the variational autoencoder (Kingma and Welling, 2014), with a corruption the denoising one (Im et
    al., 2017); other β are those of Higgins et al. (2017). `encode` and `denoise` take the mean code.

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        hidden: Width of each hidden layer of the encoder, from the input up; the decoder's are the same, down.
        code: Width of the code.
        activation: Of the hidden layers.
        beta: β, weight of the divergence, >= 0.
        warmup_steps: Steps over which β grows to that from 0, in a line, >= 0.
        loss: The reconstruction loss, with its output link, best a likelihood; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.

    Raises:
        ValueError: If a number lies out of range.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (500, 400),
        code: int = 32,
        activation: Activation = "relu",
        beta: float = 1.0,
        warmup_steps: int = 0,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        if not 0 <= beta < inf or warmup_steps < 0:
            raise ValueError(f"VariationalDAE needs beta >= 0 and warmup_steps >= 0, got {beta} and {warmup_steps}.")
        self.beta = beta
        self.warmup_steps = warmup_steps
        self.encoder = Perceptron([prod(self.shape), *hidden, 2 * code], activation)
        self.decoder = Perceptron([code, *reversed(hidden), prod(self.output_shape)], activation)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(h | x) for samples (batch, *shape), each (batch, code)."""
        mean, log_variance = self.encoder(x.flatten(1)).float().chunk(2, 1)
        return mean, log_variance.clamp(-20, 20)  # an outlier's would overflow

    def decode(self, code: Tensor) -> Tensor:
        """Raw output for codes (batch, code): (batch, *output_shape)."""
        return self.decoder(code).view(-1, *self.output_shape)

    def encode(self, x: Tensor) -> Tensor:
        """The mean code of samples (batch, *shape): (batch, code)."""
        self.check_shape(x, clean=True)
        return self.posterior(x)[0]

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """What the hidden layers make of samples, and the mean code, each after `after`."""
        self.check_shape(x)
        *hidden, code = self.encoder.all_layers(x.flatten(1), after)
        return [*hidden, code.chunk(2, 1)[0]]

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for the mean code of noisy samples (batch, *shape), of `output_shape`; `level` is ignored."""
        self.check_shape(noisy)
        return self.decode(self.posterior(noisy)[0])

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """The terms for one random code of each sample, whatever the output of its mean code is."""
        mean, log_variance = self.posterior(batch.noisy)
        draw = batch.noise(Gaussian(1.0), torch.zeros_like(mean), "code").noisy
        terms = self.terms(self.decode(mean + (log_variance / 2).exp() * draw), batch)
        return terms | {"kl": self.weight * divergence(mean, log_variance).mean()}

    @property
    def weight(self) -> float:
        """β, or how far it has grown."""
        if not self.training or self._trainer is None:
            return self.beta
        return self.beta * min(1.0, (self.trainer.global_step + 1) / max(1, self.warmup_steps))

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, samples: int, noise: Noise | None = None) -> Tensor:
        """An importance-weighted estimate of log p(x) in nats: log ¹⁄ₖ Σ p(x | hₖ) p(hₖ) / q(hₖ | x), hₖ ~ q(h | x).

        Its mean is a lower bound that grows with the number of codes (Burda et al., 2016); with one code it is the
        evidence lower bound.

        Args:
            x: Clean samples, (batch, *shape).
            samples: Codes drawn for each, >= 1.
            noise: Where they are drawn from; if None, as for the first samples of some split.

        Returns:
            (batch,).

        Raises:
            ValueError: If the loss is no likelihood of these samples, or there are no codes.
        """
        self.check_shape(x)
        self.loss.check_likelihood(x)
        if samples < 1:
            raise ValueError(f"A likelihood needs one code of each sample or more, got {samples}.")
        noise = noise or SampleNoise(0, "likelihood", torch.arange(len(x)))
        mean, log_variance = (part[:, None] for part in self.posterior(x))
        total = torch.full((len(x),), -inf, device=x.device)
        for start in range(0, samples, DRAWS):
            count = min(DRAWS, samples - start)
            draws = noise(Gaussian(1.0), mean.new_zeros(len(x), count, mean.shape[2]), f"likelihood{start}").noisy
            codes = mean + (log_variance / 2).exp() * draws
            losses = self.loss(self.decode(codes.flatten(0, 1)), x.repeat_interleave(count, 0)).view(len(x), count)
            # log p(h) − log q(h | x), whose constants cancel
            ratio = (draws.square() + log_variance - codes.square()).sum(2) / 2
            total = torch.logaddexp(total, (ratio - losses).logsumexp(1))
        return total - log(samples)

    def compile_networks(self, mode: str) -> None:
        """Compile encoder and decoder, in place."""
        self.encoder.compile(mode=mode)
        self.decoder.compile(mode=mode)

    def filters(self) -> Tensor | None:
        """The first layer's weights as pictures, (hidden[0], C, H, W); None for vectors."""
        return self.encoder.filters(self.shape)
