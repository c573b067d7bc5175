"""The adversarial denoising autoencoder."""

from collections.abc import Callable, Sequence
from math import inf, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from daezoo.batch import Batch
from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.mlp import Activation, Perceptron
from daezoo.optim import Optimizer
from daezoo.priors import Normal, Prior


class AdversarialDAE(DenoisingAutoencoder):
    """An autoencoder whose codes a discriminator D cannot tell from draws h' ~ p(h) (Makhzani et al., 2016).

    Encoder f and decoder minimise E L(x, g(h)) − weight · E ln D(h), h = f(x̃); the discriminator
    −E ln D(h') − E ln(1 − D(h)). It is one loss, with gradients cut: the discriminator's terms see the code as a
    constant, the encoder's term the discriminator. So there is one optimizer, and one step for each batch. Updates at
    the same time would circle; ½ smoothness · E ‖∂T/∂h'‖², D the logistic function of T, lets them converge (R1 of
    Mescheder et al., 2018). With a corruption it is the denoising variant of Creswell and Bharath (2019).

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        hidden: Width of each hidden layer of the encoder, from the input up; the decoder's are the same, down.
        code: Width of the code.
        activation: Of the hidden layers, the discriminator's too.
        prior: p(h); N(0, I) if None.
        discriminator: Width of each hidden layer of the discriminator.
        weight: Weight of the adversarial term against the reconstruction, >= 0.
        smoothness: Weight of the discriminator's squared gradient at draws from the prior, >= 0; in training alone.
        loss: The reconstruction loss, with its output link; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains everything; AdamW if None.

    Raises:
        ValueError: If a number lies out of range, or the prior has no codes of that width.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (500, 400),
        code: int = 16,
        activation: Activation = "relu",
        prior: Prior | None = None,
        discriminator: Sequence[int] = (200, 200),
        weight: float = 1.0,
        smoothness: float = 1.0,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        if not (0 <= weight < inf and 0 <= smoothness < inf):
            raise ValueError(
                f"AdversarialDAE weight and smoothness must be finite and at least 0, got {weight} and {smoothness}."
            )
        self.smoothness = smoothness
        self.prior = prior or Normal()
        self.weight = weight
        self.encoder = Perceptron([prod(self.shape), *hidden, code], activation)
        self.decoder = Perceptron([code, *reversed(hidden), prod(self.output_shape)], activation)
        self.discriminator = Perceptron([code, *discriminator, 1], activation)
        self.prior(torch.zeros(1, code), torch.Generator())

    def decode(self, code: Tensor) -> Tensor:
        """Raw output for codes (batch, code): (batch, *output_shape)."""
        return self.decoder(code).view(-1, *self.output_shape)

    def encode(self, x: Tensor) -> Tensor:
        """The code of samples (batch, *shape): (batch, code)."""
        self.check_shape(x, clean=True)
        return self.encoder(x.flatten(1))

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """What the hidden layers make of samples, and the code, each after `after`."""
        self.check_shape(x)
        return self.encoder.all_layers(x.flatten(1), after)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for noisy samples (batch, *shape), of `output_shape`; `level` is ignored."""
        self.check_shape(noisy)
        return self.decode(self.encoder(noisy.flatten(1)))

    def loss_terms(self, batch: Batch, output: Tensor | None = None) -> dict[str, Tensor]:
        """Reconstruction, penalties, and those of the discriminator and against it."""
        code = self.encoder(batch.noisy.flatten(1))
        drawn = batch.noise(self.prior, torch.zeros_like(code, dtype=torch.float32), "prior").noisy.requires_grad_(
            torch.is_grad_enabled()
        )
        true, false = (self.discriminator(codes).float() for codes in (drawn, code.detach()))
        constant = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        taken: Tensor = torch.func.functional_call(self.discriminator, constant, (code,)).float()
        terms = self.terms(self.decode(code) if output is None else output, batch) | {
            "adversarial": self.weight * F.softplus(-taken).mean(),
            "discriminator": (F.softplus(-true) + F.softplus(false)).mean(),
        }
        if torch.is_grad_enabled():
            (slope,) = torch.autograd.grad(true.sum(), drawn, create_graph=True)
            terms["smoothness"] = self.smoothness * slope.float().square().sum(1).mean() / 2
        return terms

    def compile_networks(self, mode: str) -> None:
        """Compile encoder and decoder, in place; the discriminator is called with weights of two kinds."""
        self.encoder.compile(mode=mode)
        self.decoder.compile(mode=mode)

    def filters(self) -> Tensor | None:
        """The first layer's weights as pictures, (hidden[0], C, H, W); None for vectors."""
        return self.encoder.filters(self.shape)
