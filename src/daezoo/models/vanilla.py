"""The classic denoising autoencoder."""

from collections.abc import Callable, Sequence
from math import prod

from torch import Tensor

from daezoo.losses import Penalty, ReconstructionLoss
from daezoo.models.base import DenoisingAutoencoder, identity
from daezoo.networks.mlp import Activation, MLPAutoencoder
from daezoo.optim import Optimizer


class VanillaDAE(DenoisingAutoencoder):
    """A fully connected denoising autoencoder: h = s(W x̃ + b), z = W' h + b' (Vincent et al., 2008).

    Args:
        shape: Shape of one sample, (C, H, W) or (D,).
        hidden: Width of each hidden layer, from the input up; the last is the code.
        activation: s, of every hidden layer.
        tied: Whether W' = Wᵀ; not where the loss needs several outputs for each element.
        kept: How many of the code's largest units keep their value, the others becoming 0 (k-sparse: Makhzani and
            Frey, 2014); all if None.
        code_activation: s of the code, if another: of a narrow code all rectified units may die, linear ones cannot.
        loss: The reconstruction loss, with its output link; squared error if None.
        penalties: Terms added to it.
        optimizer: What trains it; AdamW if None.
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int] = (1000,),
        activation: Activation = "sigmoid",
        tied: bool = True,
        kept: int | None = None,
        code_activation: Activation | None = None,
        loss: ReconstructionLoss | None = None,
        penalties: Sequence[Penalty] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__(shape, loss, penalties, optimizer)
        self.save_hyperparameters()
        self.activation, self.code_activation = activation, code_activation
        self.network = MLPAutoencoder(
            prod(self.shape), hidden, activation, tied, self.loss.parameters, kept, code_activation
        )

    def encode(self, x: Tensor) -> Tensor:
        """The code of samples (batch, *shape): (batch, hidden[-1])."""
        self.check_shape(x, clean=True)
        return self.network.encode(x.flatten(1))

    def encode_layers(self, x: Tensor, after: Callable[[Tensor], Tensor] = identity) -> list[Tensor]:
        """The codes of all hidden layers, from the input up, each after `after`."""
        self.check_shape(x)
        return self.network.encode_layers(x.flatten(1), after)

    def forward(self, noisy: Tensor, level: Tensor | float | None = None) -> Tensor:
        """Raw output for noisy samples (batch, *shape), of `output_shape`; `level` is ignored."""
        self.check_shape(noisy)
        return self.network.decode(self.network.encode(noisy.flatten(1))).view(-1, *self.output_shape)

    def jacobian_norm(self, x: Tensor) -> Tensor | None:
        """‖∂f/∂x‖²_F of each sample, (batch,), where there is one hidden layer, of which it has a closed form."""
        return self.network.layers[0].jacobian_norm(x.flatten(1)) if len(self.network.layers) == 1 else None

    def filters(self) -> Tensor | None:
        """The first layer's weights as pictures, (hidden[0], C, H, W); None for vectors."""
        return self.network.filters(self.shape)
