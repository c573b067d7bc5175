from math import cos, nan, pi

import pytest
import torch
from torch import nn

from daezoo.optim import SGD, AdamW, Optimizer

every_optimizer = pytest.mark.parametrize("kind", [AdamW, SGD], ids=lambda kind: kind.__name__)


def after_steps(optimizer: Optimizer, steps: int) -> float:
    weight = nn.Parameter(torch.tensor(1.0))
    built = optimizer.build([weight])
    for _ in range(steps):
        built.zero_grad()
        (2 * weight).backward()
        built.step()
    return weight.item()


def test_adamw_by_hand():
    # Under a constant gradient each step is lr, after weights shrink by 1 − lr · weight_decay = 0.95, apart from it.
    optimizer = AdamW(lr=0.1, weight_decay=0.5)
    assert after_steps(optimizer, 1) == pytest.approx(0.85)  # 0.95 − 0.1
    assert after_steps(optimizer, 2) == pytest.approx(0.7075)  # 0.95 · 0.85 − 0.1


def test_sgd_by_hand():
    # The gradient is 2 + weight_decay · w, the velocity 0.9 times the last one plus the gradient.
    optimizer = SGD(lr=0.1, weight_decay=0.5, momentum=0.9)
    assert after_steps(optimizer, 1) == pytest.approx(0.75)  # 1 − 0.1 · 2.5
    assert after_steps(optimizer, 2) == pytest.approx(0.2875)  # 0.75 − 0.1 · (0.9 · 2.5 + 2.375)


@every_optimizer
@pytest.mark.parametrize(("lr", "weight_decay"), [(0.0, 0.0), (-1.0, 0.0), (nan, 0.0), (0.1, -1.0)])
def test_a_learning_rate_or_weight_decay_out_of_range_is_an_error(kind, lr, weight_decay):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs .* got lr={lr} and weight_decay={weight_decay}"):
        kind(lr=lr, weight_decay=weight_decay)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, nan])
def test_a_momentum_out_of_range_is_an_error(momentum):
    with pytest.raises(ValueError, match=rf"momentum must lie in \[0, 1\), got {momentum}"):
        SGD(momentum=momentum)


@every_optimizer
def test_a_learning_rate_is_constant_or_rises_and_falls_along_a_half_cosine(kind):
    assert [kind(0.2).rate(share) for share in (0.0, 0.3, 1.0)] == [0.2] * 3
    falling = kind(0.2, schedule="cosine")
    assert [falling.rate(share) for share in (1 / 3, 0.5, 1)] == pytest.approx([0.15, 0.1, 0.0])
    assert [falling.rate(share) for share in (0, 0.01)] == pytest.approx([0.0, 0.2 * 0.2 * (1 + cos(0.01 * pi)) / 2])
    with pytest.raises(ValueError, match="The schedule must be one of constant, cosine, got 'cosin'"):
        kind(schedule="cosin")
