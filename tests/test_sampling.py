import pytest
import torch

from daezoo.losses import CrossEntropy, SquaredError
from daezoo.models import StackedDAE
from daezoo.sampling import sample_top_down


def stack(**others) -> StackedDAE:
    torch.manual_seed(0)
    return StackedDAE([1, 2, 3], **({"hidden": [5, 4], "loss": CrossEntropy(), "code_corruption": None} | others))


def test_samples_are_means_in_the_shape_of_the_data_and_fixed_by_the_generator():
    model, codes = stack(), torch.rand(7, 4)
    draws = [sample_top_down(model, codes, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert draws[0].shape == (7, 1, 2, 3)
    assert draws[0].min() > 0 and draws[0].max() < 1
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_hidden_layers_are_drawn_with_the_probabilities_of_their_decoder():
    model = stack()
    lower, upper = model.network.layers
    code = torch.rand(1, 4)
    mean = upper.decode(code).sigmoid()
    with torch.no_grad():  # the lowest layer shows one hidden unit at each pixel, far from saturation
        lower.weight.zero_()
        lower.weight[:5, :5] = torch.eye(5) * 0.1
        lower.visible_bias.zero_()
    samples = sample_top_down(model, code.expand(20_000, 4), torch.Generator().manual_seed(0)).flatten(1)[:, :5]
    hidden = samples.logit() / 0.1
    assert torch.allclose(hidden, hidden.round(), atol=1e-3)
    assert torch.allclose(hidden.mean(0), mean[0], atol=4 * 0.5 / 20_000**0.5)


def test_one_layer_needs_no_draws():
    model, code = stack(hidden=[5]), torch.rand(3, 5)
    expected = model.network.layers[0].decode(code).sigmoid().view(3, 1, 2, 3)
    assert torch.equal(sample_top_down(model, code), expected)


@pytest.mark.parametrize("others", [{"activation": "relu"}, {"loss": SquaredError()}])
def test_a_stack_without_probabilities_is_an_error(others):
    with pytest.raises(ValueError, match="Top-down sampling needs logistic units"):
        sample_top_down(stack(**others), torch.rand(1, 4))


def test_codes_that_are_no_probabilities_are_an_error():
    with pytest.raises(ValueError, match=r"Codes must lie in \[0, 1\], got 0 to 2"):
        sample_top_down(stack(), torch.tensor([[0.0, 0.0, 0.0, 2.0]]))
