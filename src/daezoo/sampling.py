"""Samples from what an autoencoder has learned."""

import torch
from torch import Tensor

from daezoo.losses import CrossEntropy
from daezoo.models import StackedDAE


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
