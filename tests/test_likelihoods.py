from math import log, log2

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal
from torch.nn import functional as F

from conftest import build
from daezoo.likelihoods import Categorical, FixedGaussian, LearnedGaussian, bits_per_dimension
from daezoo.losses import CrossEntropy, SquaredError
from daezoo.models import ConvDAE, ResidualDAE, StackedDAE, VanillaDAE

SEVERAL = [LearnedGaussian(), Categorical()]


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_gaussians_are_those_of_torch():
    clean = seeded(5, 1, 4, 3).double()
    fixed = FixedGaussian(sigma=0.3)(seeded(5, 1, 4, 3).double(), clean)
    torch.testing.assert_close(fixed, -Normal(seeded(5, 1, 4, 3).double(), 0.3).log_prob(clean).flatten(1).sum(1))
    output = seeded(5, 2, 1, 4, 3).double()
    learned = LearnedGaussian(lowest=0.05)(output, clean)
    reference = Normal(output[:, 0], 0.05 + F.softplus(output[:, 1])).log_prob(clean)
    torch.testing.assert_close(learned, -reference.flatten(1).sum(1))
    assert torch.equal(LearnedGaussian().link(output), output[:, 0])


def test_a_learnt_variance_is_bounded_below_where_the_density_would_have_no_bound():
    exact = torch.stack([torch.zeros(1, 3), torch.full((1, 3), -1e4)], 1).requires_grad_()
    loss = LearnedGaussian(lowest=0.01)(exact, torch.zeros(1, 3))
    assert loss.item() == pytest.approx(3 * (log(0.01) + log(2 * torch.pi) / 2), rel=1e-5)
    loss.sum().backward()
    assert exact.grad.isfinite().all()


def test_categorical_is_that_of_torch_and_a_distribution_of_bytes():
    bytes_ = torch.randint(256, (4, 2, 3), generator=torch.Generator().manual_seed(0))
    output = seeded(4, 256, 2, 3)
    reference = TorchCategorical(logits=output.movedim(1, -1)).log_prob(bytes_)
    torch.testing.assert_close(Categorical()(output, bytes_ / 255), -reference.flatten(1).sum(1))
    one = seeded(1, 256, 1).expand(256, 256, 1)
    every = torch.arange(256)[:, None] / 255
    assert (-Categorical()(one, every)).exp().sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(Categorical().link(one)[0, 0], (one[0, :, 0].softmax(0) * every[:, 0]).sum())
    with pytest.raises(ValueError, match=r"Categorical needs data in \[0, 1\], got values from -1 to 0"):
        Categorical().check(torch.tensor([[-1.0, 0.0]]))


def test_bits_per_dimension():
    assert bits_per_dimension(784 * log(2), 784) == pytest.approx(1)
    uniform = Categorical()(torch.zeros(1, 256, 10), torch.rand(1, 10)).item()
    assert bits_per_dimension(uniform, 10) == pytest.approx(log2(256))
    assert bits_per_dimension(0.0, 10, levels=256) == pytest.approx(8)  # a density of 1 over [0, 1]


def test_what_is_no_likelihood_says_so():
    CrossEntropy().check_likelihood(torch.tensor([[0.0, 1.0]]))
    for loss in (FixedGaussian(), *SEVERAL):
        loss.check_likelihood(torch.tensor([[0.3]]))
    with pytest.raises(ValueError, match="SquaredError is no likelihood"):
        SquaredError().check_likelihood(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="CrossEntropy is a likelihood of binary data only"):
        CrossEntropy().check_likelihood(torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match=r"Categorical needs data in \[0, 1\]"):
        Categorical().check_likelihood(torch.tensor([[1.5]]))
    for loss in (FixedGaussian(alpha=2.0), CrossEntropy(beta=0.0)):
        with pytest.raises(ValueError, match="Under emphasis"):
            loss.check_likelihood(torch.zeros(1, 1))


@pytest.mark.parametrize(("kind", "name"), [(FixedGaussian, "sigma"), (LearnedGaussian, "lowest")])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_an_error(kind, name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite"):
        kind(**{name: value})


@pytest.mark.parametrize("loss", SEVERAL, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 4), (6,)], ids=str)
def test_networks_give_as_many_outputs_for_each_element_as_the_loss_needs(loss, shape):
    torch.manual_seed(0)
    images = torch.rand(5, *shape)
    models = [VanillaDAE(shape, [7, 4], tied=False, loss=loss), StackedDAE(shape, [7], tied=False, loss=loss)]
    if len(shape) == 3:
        models += [ConvDAE(shape, [4, 8], code, loss=loss) for code in (None, 6)]
    for model in models:
        output = model(images)
        assert output.shape == (5, loss.parameters, *shape)
        assert model.denoise(images).shape == images.shape
        loss(output, images).sum().backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters() if parameter.ndim > 1)
    with pytest.raises(ValueError, match=f"needs {loss.parameters}. Set tied: false"):
        VanillaDAE(shape, loss=loss)
    with pytest.raises(ValueError, match=f"cannot train with {type(loss).__name__}"):
        ResidualDAE([1, 8, 8], loss=loss)


def test_a_layer_of_a_stack_trains_under_a_likelihood_with_several_outputs():
    model, data = build("stacked", tied=False, hidden=[6, 4], code_corruption=None)
    model.loss, batch = LearnedGaussian(), next(data.evaluation_batches("test"))
    stack = StackedDAE([1, 8, 8], [6, 4], tied=False, loss=LearnedGaussian())
    (term,) = stack.layer_terms(0, batch).values()
    output = stack.network.layers[0](batch.noisy.flatten(1)).unflatten(2, (1, 8, 8))
    torch.testing.assert_close(term, LearnedGaussian()(output, batch.clean).mean())
