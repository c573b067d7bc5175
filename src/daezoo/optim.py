"""Optimizers as plain descriptions, so that a checkpoint's hyperparameters stay readable."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import cos, inf, pi
from typing import Literal, get_args

import torch
from torch import nn

RateSchedule = Literal["constant", "cosine"]
WARM_UP = 0.05
"""Share of the training in which a learning rate rises that falls later."""


@dataclass(frozen=True)
class Optimizer(ABC):
    """An optimizer that has not met its parameters yet.

    Args:
        lr: Learning rate, > 0.
        weight_decay: >= 0; decoupled from the gradient for AdamW.
        schedule: Whether the learning rate is constant, or falls to 0 along a half cosine: lr (1 + cos(π p)) / 2, where
            p is the share of the training that is over; before p = WARM_UP, it rises to that from 0 in a line, so
            that the first step changes nothing.

    Raises:
        ValueError: If a number lies out of range, or the schedule is not known.
    """

    lr: float
    weight_decay: float = 0.0
    schedule: RateSchedule = field(default="constant", kw_only=True)

    def rate(self, progress: float) -> float:
        """The learning rate when this share of the training, in [0, 1], is over."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * min(1, progress / WARM_UP) * (1 + cos(pi * progress)) / 2

    def __post_init__(self) -> None:
        if self.schedule not in get_args(RateSchedule):
            raise ValueError(f"The schedule must be one of {', '.join(get_args(RateSchedule))}, got {self.schedule!r}.")
        if not (0 < self.lr < inf and 0 <= self.weight_decay < inf):
            raise ValueError(
                f"{type(self).__name__} needs lr > 0 and weight_decay >= 0, "
                f"got lr={self.lr} and weight_decay={self.weight_decay}."
            )

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter], fused: bool = True) -> torch.optim.Optimizer:
        """The torch optimizer over these parameters."""


@dataclass(frozen=True)
class AdamW(Optimizer):
    """AdamW with torch's default moments, in its fused form (on CPUs about ten times faster than the loop)."""

    lr: float = 1e-3

    def build(self, parameters: Iterable[nn.Parameter], fused: bool = True) -> torch.optim.Optimizer:
        """The torch optimizer over these parameters."""
        return torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay, fused=fused)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, in its fused form.

    Args:
        lr: Learning rate, > 0. Losses are summed over elements, as in the papers.
        weight_decay: >= 0.
        schedule: Constant, or cosine.
        momentum: In [0, 1).

    Raises:
        ValueError: If a number lies out of range.
    """

    lr: float = 1e-3
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ValueError(f"SGD momentum must lie in [0, 1), got {self.momentum}.")

    def build(self, parameters: Iterable[nn.Parameter], fused: bool = True) -> torch.optim.Optimizer:
        """The torch optimizer over these parameters."""
        return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=fused)
