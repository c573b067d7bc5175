import pytest
import torch
from torch import nn

from daezoo.batch import Batch
from daezoo.corruption import Clean, Gaussian, Masking
from daezoo.data import DigitsData
from daezoo.likelihoods import FixedGaussian
from daezoo.losses import CrossEntropy, SquaredError
from daezoo.models import StackedDAE, VanillaDAE
from daezoo.randomness import StepNoise, generator
from daezoo.walkback import Walkback


class Halving(nn.Module):
    """r(x̃) = x̃ / 2, which keeps what it saw."""

    def __init__(self, loss) -> None:
        super().__init__()
        self.loss, self.seen, self.output_shape = loss, [], (3,)

    def level_weight(self, level):
        return 1.0

    def forward(self, noisy, level):
        self.seen.append(noisy)
        return noisy / 2


def batch_of(clean, corruption, noise=None) -> Batch:
    noise = noise or StepNoise(0, 0)
    noisy, level, mask = noise(corruption, clean)
    nothing = torch.zeros(len(clean), dtype=torch.int64)
    return Batch(noisy, clean, level, mask, nothing, nothing, noise, None, corruption)


def test_the_chain_by_hand():
    clean = torch.tensor([[1.0, 2.0, 2.0]])  # ‖x‖² = 9
    model = Halving(SquaredError())
    found = Walkback(weight=2.0, steps=3, sampled=False)(model, batch_of(clean, Clean()))
    # x̂₀ = x/2, and xₖ = x/2ᵏ⁺¹: L(x, x̂ₖ) = (1 − 2⁻ᵏ⁻¹)² · 9 for k = 1, 2, 3
    assert found.item() == pytest.approx(2 * 9 * (0.75**2 + 0.875**2 + 0.9375**2))
    torch.testing.assert_close(torch.cat(model.seen), clean * torch.tensor([[1], [0.5], [0.25], [0.125]]))


def test_a_geometric_number_of_steps_counts_each_step_as_often():
    clean = torch.ones(20_000, 3)
    found = Walkback(steps=3, continued=0.5, sampled=False)(Halving(SquaredError()), batch_of(clean, Clean()))
    errors = [3 * (1 - 2.0 ** -(k + 1)) ** 2 for k in (1, 2, 3)]
    expected = sum(error * 0.5**k for k, error in enumerate(errors, 1))
    # a step's share has a standard error of at most √(0.25 / 20,000) = 0.0035; errors add up to less than 7
    assert found.item() == pytest.approx(expected, abs=5 * 0.0035 * 7)
    assert found.item() < 0.9 * sum(errors)


def test_reconstructions_are_sampled_and_corrupted_as_the_data_is():
    clean = torch.rand(500, 3, generator=generator(0))
    model = Halving(CrossEntropy())
    Walkback(steps=2)(model, batch_of(clean, Masking(0.5)))
    for noisy in model.seen[1:]:
        assert set(noisy.unique().tolist()) == {0.0, 1.0}
        # means of σ(x̃/2) lie between 0.5 and 0.63, of which half is masked
        assert 0.2 < noisy.mean() < 0.35
    model = Halving(FixedGaussian(sigma=0.1))
    Walkback(steps=1)(model, batch_of(torch.ones(5_000, 3), Clean()))
    assert (model.seen[1] - 0.5).std().item() == pytest.approx(0.1, abs=0.005)


def test_it_is_a_function_of_the_key_and_as_much_on_two_processes():
    clean, penalty = torch.rand(64, 3, generator=generator(1)), Walkback(steps=2, continued=0.7)
    whole = penalty(Halving(CrossEntropy()), batch_of(clean, Gaussian(0.3)))
    assert penalty(Halving(CrossEntropy()), batch_of(clean, Gaussian(0.3))) == whole
    parts = [
        penalty(Halving(CrossEntropy()), batch_of(clean[rank::2], Gaussian(0.3), StepNoise(0, 0, rank, 2)))
        for rank in range(2)
    ]
    # the other process's samples are not known to either, but noise does not depend on them; draws of x' do not either
    torch.testing.assert_close(sum(parts) / 2, whole)


def test_what_a_step_starts_from_has_no_gradient():
    model = VanillaDAE([3], [4], penalties=[Walkback(steps=2, sampled=False)])
    batch = batch_of(torch.rand(6, 3, generator=generator(2)), Clean())
    total = model.penalties[0](model, batch)
    with torch.no_grad():
        first = model.denoise(batch.noisy)
        second = model.denoise(first)
    again = sum(model.loss(model(start, None), batch.clean).mean() for start in (first, second))
    torch.testing.assert_close(total, again)
    found, expected = (torch.autograd.grad(value, list(model.parameters())) for value in (total, again))
    torch.testing.assert_close(found, expected)


def test_data_modules_say_what_corrupted_their_batches():
    data = DigitsData(Masking(0.3))
    assert next(data.evaluation_batches("valid")).corruption == Masking(0.3)
    assert next(data.evaluation_batches("valid", Gaussian(0.1))).corruption == Gaussian(0.1)
    batch = next(data.evaluation_batches("valid"))._replace(corruption=None)
    with pytest.raises(ValueError, match="say what corrupted them"):
        Walkback(sampled=False)(VanillaDAE([1, 8, 8]), batch)


@pytest.mark.parametrize("options", [{"steps": 0}, {"continued": 0.0}, {"continued": 1.0}, {"weight": -1.0}], ids=str)
def test_numbers_out_of_range_are_errors(options):
    with pytest.raises(ValueError, match="Walkback"):
        Walkback(**options)


def test_models_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="SquaredError is of no distribution that could be sampled"):
        Walkback().check(VanillaDAE([3]))
    Walkback(sampled=False).check(VanillaDAE([3]))
    Walkback().check(VanillaDAE([3], loss=CrossEntropy()))
    with pytest.raises(ValueError, match="not StackedDAE"):
        Walkback().check(StackedDAE([3], [2, 2]))
