"""A network that predicts the noise of vectors: fully connected residual blocks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from daezoo.networks.residual import DEEPEST, EMBEDDING, Condition, Levels, embedding_of

Vectors = Float[Tensor, "batch dims"]
Hidden = Float[Tensor, "batch width"]


class PointNetwork(nn.Module):
    """A network (noisy vectors, noise levels) → predicted noise: x → x + W₂ s(W₁ x + shift), s(a) = a σ(a).

    The shift of every block is linear in the embedded level. The last layer starts at zero, so an untrained network
    predicts no noise at all.

    Args:
        elements: Of a vector.
        condition: How it is told the noise level: not at all (none), by its embedding (film), or one of sines and
            cosines of it (sinusoidal).
        width: Of the hidden layers.
        blocks: How many, >= 1.
        classes: How many it is told apart, beside the level.

    Raises:
        ValueError: If a number lies out of range, or there is no such condition for vectors.
    """

    def __init__(
        self, elements: int, condition: Condition, width: int = 128, blocks: int = 3, classes: int = 0
    ) -> None:
        super().__init__()
        if min(elements, width) < 1 or not 1 <= blocks <= DEEPEST:
            raise ValueError(f"A PointNetwork needs width >= 1 and 1 to {DEEPEST} blocks, got {width=}, {blocks=}.")
        if condition not in ("none", "film", "sinusoidal"):
            raise ValueError(
                f"Vectors have no map of the noise level: condition film or sinusoidal, got {condition!r}."
            )
        self.condition = condition
        self.embedding = embedding_of(condition, classes)
        self.first = nn.Linear(elements, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.shift = nn.ModuleList(nn.Linear(EMBEDDING, width) for _ in range(blocks if self.embedding else 0))
        self.last = nn.Linear(width, elements)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def code(self, noisy: Vectors, level: Levels | None = None) -> Hidden:
        """The last hidden layer, (batch, width)."""
        x = self.first(noisy)
        told = None if self.embedding is None else self.embedding(level)
        for number, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            hidden = inner(x) if told is None else inner(x) + self.shift[number](told)
            x = x + outer(F.silu(hidden))
        return F.silu(x)

    def forward(self, noisy: Vectors, level: Levels | None = None) -> Vectors:
        """The predicted noise, shaped like the input."""
        predicted: torch.Tensor = self.last(self.code(noisy, level))
        return predicted
