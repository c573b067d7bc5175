from dataclasses import replace
from math import inf, log, nan, sqrt

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence
from torch.nn import functional as F

from daezoo.batch import Batch, Corrupted, Noise
from daezoo.losses import (
    AbsoluteError,
    Charbonnier,
    Contractive,
    CrossEntropy,
    KLSparsity,
    L1Sparsity,
    SquaredError,
)
from daezoo.models import VanillaDAE
from daezoo.networks.mlp import AutoencoderLayer
from daezoo.randomness import StepNoise

LOSSES = [SquaredError, AbsoluteError, Charbonnier, CrossEntropy]
every_loss = pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(clean: Tensor, noisy: Tensor | None = None, noise: Noise | None = None) -> Batch:
    count = torch.arange(len(clean))
    return Batch(
        noisy=clean if noisy is None else noisy,
        clean=clean,
        level=torch.zeros(len(clean)),
        mask=torch.zeros_like(clean, dtype=torch.bool),
        label=count,
        index=count,
        noise=StepNoise(0, 0) if noise is None else noise,
    )


@pytest.mark.parametrize(
    ("loss", "output", "clean", "expected"),
    [
        (SquaredError(), [0.5, -1.0, 2.0], [0.0, 1.0, 1.0], 5.25),  # 0.5² + 2² + 1²
        (AbsoluteError(), [0.5, -1.0, 2.0], [0.0, 1.0, 1.0], 3.5),  # 0.5 + 2 + 1
        (
            Charbonnier(epsilon=4.0),
            [4.0, 1.0, -6.5],
            [1.0, 1.0, 1.0],
            17.5,
        ),  # √(9+16) + √(0+16) + √(56.25+16) = 5+4+8.5
        # σ(ln 3) = 3/4, σ(0) = 1/2, σ(−ln 3) = 1/4:
        # −ln 3/4 + ln 2 + (−1/4 ln 1/4 − 3/4 ln 3/4) = 0.287682 + 0.693147 + (0.346574 + 0.215762)
        (CrossEntropy(), [log(3), 0.0, -log(3)], [1.0, 0.5, 0.25], 1.543165),
    ],
    ids=lambda value: type(value).__name__,
)
def test_losses_on_three_numbers(loss, output, clean, expected):
    assert loss(torch.tensor([output]), torch.tensor([clean])).tolist() == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (SquaredError(), F.mse_loss),
        (AbsoluteError(), F.l1_loss),
        (CrossEntropy(), F.binary_cross_entropy_with_logits),
    ],
    ids=["SquaredError", "AbsoluteError", "CrossEntropy"],
)
def test_losses_sum_torchs_own_over_the_elements_of_each_sample(loss, reference):
    output, clean = 3 * torch.randn(5, 2, 3, 4, generator=seeded()), torch.rand(5, 2, 3, 4, generator=seeded(1))
    each = torch.stack([reference(output[row], clean[row], reduction="sum") for row in range(5)])
    torch.testing.assert_close(loss(output, clean), each)


def test_charbonnier_lies_above_l1_by_at_most_epsilon_and_is_smooth_at_zero():
    output, clean = torch.randn(100, 1, generator=seeded()), torch.zeros(100, 1)
    excess = Charbonnier(epsilon=0.01)(output, clean) - AbsoluteError()(output, clean)
    assert (excess > 0).all()
    assert (excess <= 0.01).all()
    at_zero = torch.zeros(1, 1, requires_grad=True)
    Charbonnier()(at_zero, torch.zeros(1, 1)).sum().backward()
    assert torch.equal(at_zero.grad, torch.zeros(1, 1))


@every_loss
def test_losses_of_low_precision_outputs_are_computed_in_float32(kind):
    output, clean = torch.randn(3, 50, generator=seeded()).bfloat16(), torch.rand(3, 50, generator=seeded(1))
    loss = kind()(output, clean)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, kind()(output.float(), clean))


@every_loss
def test_extreme_outputs_give_finite_losses_and_gradients(kind):
    output = torch.tensor([[-1e4, 0.0, 1e4]], requires_grad=True)
    loss = kind()(output, torch.tensor([[1.0, 0.0, 0.0]]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert output.grad.isfinite().all()


def test_emphasis_weighs_corrupted_and_untouched_elements():
    output, clean = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([[0.0, 1.0, 1.0]])  # squared errors 0.25, 4, 1
    mask = torch.tensor([[True, False, True]])
    assert SquaredError(2.0, 0.5)(output, clean, mask).tolist() == [4.5]  # 2 · 0.25 + 0.5 · 4 + 2 · 1
    assert SquaredError(1.0, 0.0)(output, clean, mask).tolist() == [1.25]  # 0.25 + 1
    assert SquaredError(0.0, 1.0)(output, clean, mask).tolist() == [4.0]
    assert SquaredError(3.0, 3.0)(output, clean).tolist() == [15.75]  # 3 · 5.25


@every_loss
def test_full_emphasis_gives_untouched_elements_no_gradient(kind):
    output = torch.randn(4, 6, generator=seeded()).requires_grad_()
    mask = torch.rand(4, 6, generator=seeded(1)) < 0.5
    kind(alpha=1.0, beta=0.0)(output, torch.full((4, 6), 0.5), mask).sum().backward()
    assert torch.equal(output.grad != 0, mask)


@every_loss
def test_unequal_emphasis_without_a_mask_is_an_error(kind):
    with pytest.raises(ValueError, match="needs the mask"):
        kind(alpha=1.0, beta=0.5)(torch.zeros(1, 3), torch.zeros(1, 3))


@every_loss
@pytest.mark.parametrize(("alpha", "beta"), [(-0.1, 1.0), (1.0, -0.1), (0.0, 0.0)])
def test_negative_or_vanishing_emphasis_is_an_error(kind, alpha, beta):
    with pytest.raises(ValueError, match=f"got alpha={alpha}, beta={beta}"):
        kind(alpha=alpha, beta=beta)


@pytest.mark.parametrize("epsilon", [0.0, -1.0])
def test_charbonnier_without_a_positive_epsilon_is_an_error(epsilon):
    with pytest.raises(ValueError, match=f"epsilon must be positive, got {epsilon}"):
        Charbonnier(epsilon=epsilon)


@every_loss
def test_the_link_takes_outputs_into_data_space_where_the_target_is_the_best_one(kind):
    loss, output = kind(), torch.tensor([[-2.0, 0.0, 3.0]], requires_grad=True)
    assert torch.equal(loss.link(output), output.sigmoid() if kind is CrossEntropy else output)
    assert loss.identity_link == torch.equal(loss.link(output), output)
    loss(output, loss.link(output).detach()).sum().backward()
    torch.testing.assert_close(output.grad, torch.zeros(1, 3))


def test_cross_entropy_is_that_of_the_linked_output():
    output, clean = torch.randn(4, 9, generator=seeded()), torch.rand(4, 9, generator=seeded(1))
    loss = CrossEntropy()
    reference = F.binary_cross_entropy(loss.link(output), clean, reduction="none").sum(1)
    torch.testing.assert_close(loss(output, clean), reference)


def test_cross_entropy_needs_data_between_zero_and_one():
    CrossEntropy().check(torch.tensor([[0.0, 0.5, 1.0]]))
    for wrong in (-0.1, 1.1, nan, inf):
        with pytest.raises(ValueError, match=r"CrossEntropy needs data in \[0, 1\].*SquaredError"):
            CrossEntropy().check(torch.tensor([[0.0, wrong, 1.0]]))
        SquaredError().check(torch.tensor([[wrong]]))


class NoEncoding:
    activation = "sigmoid"

    def encode(self, x: Tensor) -> Tensor:
        return x


def test_l1_sparsity_by_hand_on_the_noisy_samples():
    codes = torch.tensor([[1.0, -2.0], [0.0, 4.0]])  # Σ|h| = 3 and 4, mean 3.5
    assert L1Sparsity(0.1)(NoEncoding(), batch_of(torch.zeros(2, 2), codes)).item() == pytest.approx(0.35)


def test_kl_sparsity_by_hand_on_the_noisy_samples():
    codes = torch.tensor([[0.1, 0.5], [0.3, 0.5]])  # means 0.2 and 0.5
    penalty = KLSparsity(2.0, target=0.2)(NoEncoding(), batch_of(torch.zeros(2, 2), codes))
    # KL(0.2‖0.2) = 0; KL(0.2‖0.5) = 0.2 ln 0.4 + 0.8 ln 1.6 = −0.183258 + 0.376003 = 0.192745; twice that
    assert penalty.item() == pytest.approx(0.385490, abs=1e-6)


def test_kl_sparsity_agrees_with_torch_and_stays_finite_for_dead_and_stuck_units():
    codes = torch.rand(20, 7, generator=seeded())
    reference = kl_divergence(Bernoulli(torch.tensor(0.05)), Bernoulli(codes.mean(0))).sum()
    torch.testing.assert_close(KLSparsity(1.0)(NoEncoding(), batch_of(codes)), reference)
    assert KLSparsity(1.0)(NoEncoding(), batch_of(torch.tensor([[0.0, 1.0]]))).isfinite()


def test_kl_sparsity_needs_sigmoid_units():
    KLSparsity().check(NoEncoding())
    KLSparsity().check(AutoencoderLayer(3, 2, "sigmoid", tied=True))
    with pytest.raises(ValueError, match="those of AutoencoderLayer are no sigmoid units"):
        KLSparsity().check(AutoencoderLayer(3, 2, "relu", tied=True))
    KLSparsity().check(VanillaDAE([4], [3, 2], "relu", code_activation="sigmoid"))
    with pytest.raises(ValueError, match="those of VanillaDAE are no sigmoid units"):
        KLSparsity().check(VanillaDAE([4], [3, 2], "sigmoid", code_activation="linear"))


@pytest.fixture
def layer() -> AutoencoderLayer:
    layer = AutoencoderLayer(6, 4, "sigmoid", tied=True)
    with torch.no_grad():
        layer.weight.copy_(1.5 * torch.randn(4, 6, generator=seeded()))
        layer.bias.copy_(torch.randn(4, generator=seeded(1)))
    return layer


def jacobians(layer: AutoencoderLayer | VanillaDAE, clean: Tensor) -> Tensor:
    each = [torch.autograd.functional.jacobian(layer.encode, x[None], create_graph=True) for x in clean]
    return torch.stack(each)[:, 0, :, 0]


class BasisDirections:
    """The k-th direction is the k-th unit vector, for which the estimate is exact."""

    def __call__(self, corruption: object, clean: Tensor, stream: str) -> Corrupted:
        direction = torch.zeros_like(clean)
        direction[:, int(stream.removeprefix("contractive"))] = 1.0
        return Corrupted(direction, torch.ones(len(clean)), torch.ones_like(clean, dtype=torch.bool))


def test_contractive_penalty_and_its_gradients_are_exact_along_all_unit_vectors(layer):
    clean = torch.randn(5, 6, generator=seeded(2))
    penalty = 6 * Contractive(0.3, directions=6)(layer, batch_of(clean, noise=BasisDirections()))
    expected = 0.3 * jacobians(layer, clean).square().sum((1, 2)).mean()
    torch.testing.assert_close(penalty, expected)
    parameters = (layer.weight, layer.bias)
    gradients = torch.autograd.grad(penalty, parameters)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, parameters))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("directions", [1, 4])
def test_contractive_penalty_agrees_with_the_exact_jacobian_of_the_clean_samples(layer, directions):
    samples, repeats = torch.randn(8, 6, generator=seeded(2)), 1000
    clean = samples.repeat(repeats, 1)
    batch = batch_of(clean, noisy=torch.full_like(clean, nan), noise=StepNoise(5, 0))
    estimate = Contractive(1.0, directions)(layer, batch).item()
    exact = jacobians(layer, samples)
    # One direction has variance Var ‖J v‖² = 2 ‖JᵀJ‖²_F for v ~ N(0, I); the bound is 5 standard errors.
    variance = 2 * (exact.mT @ exact).square().sum((1, 2)).mean().item()
    assert abs(estimate - exact.square().sum((1, 2)).mean().item()) < 5 * sqrt(variance / (8 * repeats * directions))


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "linear"])
@pytest.mark.parametrize("kept", [None, 2])
def test_the_closed_form_of_the_contractive_penalty_is_the_exact_jacobian_and_the_mean_of_its_estimates(
    activation, kept
):
    torch.manual_seed(0)
    model = VanillaDAE([6], [4], activation, kept=kept)
    samples = torch.randn(8, 6, generator=seeded(2))
    exact = Contractive(0.3)(model, batch_of(samples))
    expected = 0.3 * jacobians(model, samples).square().sum((1, 2)).mean()
    torch.testing.assert_close(exact, expected)
    weight = model.network.layers[0].weight
    torch.testing.assert_close(torch.autograd.grad(exact, weight), torch.autograd.grad(expected, weight))
    along = 6 * Contractive(0.3, directions=6)(model, batch_of(samples, noise=BasisDirections()))
    torch.testing.assert_close(along, exact)
    deep = VanillaDAE([6], [4, 3], activation)
    estimated = Contractive(1.0)(deep, batch_of(samples.repeat(1000, 1), noise=StepNoise(0, 0))).item()
    assert estimated == pytest.approx(jacobians(deep, samples).square().sum((1, 2)).mean().item(), rel=0.1)


@pytest.mark.parametrize("penalty", [L1Sparsity(), KLSparsity(), Contractive()], ids=lambda penalty: penalty.name)
def test_penalties_are_scalars_proportional_to_their_weight_that_reach_the_encoder(penalty, layer):
    batch = batch_of(torch.rand(4, 6, generator=seeded()))
    once, twice = (replace(penalty, weight=weight)(layer, batch) for weight in (1.0, 2.0))
    assert once.shape == ()
    assert once > 0
    torch.testing.assert_close(twice, 2 * once)
    once.backward()
    assert layer.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match=r"weight must be finite and at least 0, got -1\.0"):
        replace(penalty, weight=-1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KLSparsity(target=0.0), r"target must lie in \(0, 1\), got 0\.0"),
        (lambda: KLSparsity(target=1.0), r"target must lie in \(0, 1\), got 1\.0"),
        (lambda: KLSparsity(target=nan), r"target must lie in \(0, 1\), got nan"),
        (lambda: Contractive(directions=0), "directions must be at least 1, got 0"),
    ],
)
def test_other_arguments_of_penalties_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
