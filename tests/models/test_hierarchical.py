import pytest
import torch
from torch.nn import functional as F

from daezoo.batch import Corrupted
from daezoo.corruption import Clean, SwapNoise
from daezoo.losses import SquaredError
from daezoo.models import HierarchicalDAE
from test_losses import batch_of


def model_of(**arguments) -> HierarchicalDAE:
    torch.manual_seed(0)
    return HierarchicalDAE([6], [5, 4], **arguments)


class Shifts:
    """Noise of 0.1 in every unit of the first level, 0.2 of the second."""

    def __call__(self, corruption: object, clean: torch.Tensor, stream: str) -> Corrupted:
        shift = {"level0": 0.1, "level1": 0.2}[stream]
        return Corrupted(clean + shift, clean.new_ones(len(clean)), torch.ones_like(clean).bool())


def test_the_ladder_climbs_and_descends_as_its_equations_say():
    model, x, noisy = model_of(weights=[0.5, 2.0]), torch.rand(7, 6), torch.rand(7, 6)

    def normal(z: torch.Tensor) -> torch.Tensor:
        return (z - z.mean(1, keepdim=True)) / (z.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

    def climb(h: torch.Tensor, shifts: tuple[float, float]) -> tuple[list[torch.Tensor], torch.Tensor]:
        levels = []
        for up, bias, shift in zip(model.up, model.biases, shifts, strict=True):
            levels.append(normal(h @ up.weight.t()) + shift)
            h = F.relu(levels[-1] + bias)
        return levels, h

    (z1, z2), _ = climb(x, (0.0, 0.0))
    (noisy1, noisy2), top = climb(noisy, (0.1, 0.2))
    u2 = normal(top @ model.down[1].weight.t())
    share = torch.sigmoid(model.gates[1](u2))
    found2 = share * noisy2 + (1 - share) * u2
    u1 = normal(found2 @ model.down[0].weight.t())
    share = torch.sigmoid(model.gates[0](u1))
    found1 = share * noisy1 + (1 - share) * u1
    terms = model.loss_terms(batch_of(x, noisy, Shifts()))
    torch.testing.assert_close(terms["reconstruction"], SquaredError()(model.output(found1), x).mean())
    torch.testing.assert_close(terms["level1"], 0.5 * (found1 - z1).square().sum(1).mean() / 5)
    torch.testing.assert_close(terms["level2"], 2.0 * (found2 - z2).square().sum(1).mean() / 4)


def test_every_level_has_a_code_of_its_own_and_noise_is_for_training_alone():
    model, x = model_of(), torch.rand(7, 6)
    below, code = model.encode_layers(x)
    assert (below.shape, code.shape) == ((7, 5), (7, 4))
    assert torch.equal(model.encode(x), code)
    assert torch.equal(model.denoise(x), model.denoise(x))
    halved = model.encode_layers(x, lambda layer: layer / 2)
    assert torch.equal(halved[0], below / 2)
    assert not torch.equal(halved[1], code / 2)  # the second level has seen the first after it was halved
    clean = model_of(code_corruption=Clean()).loss_terms(batch_of(x))["reconstruction"]
    torch.testing.assert_close(clean, SquaredError()(model(x), x).mean())
    assert not torch.equal(clean, model.loss_terms(batch_of(x))["reconstruction"])


def test_codes_depend_on_their_own_sample_alone_and_not_on_its_scale():
    model, x = model_of(), torch.rand(7, 6)
    torch.testing.assert_close(model.encode(x)[2:3], model.encode(x[2:3]))
    torch.testing.assert_close(model.encode(3 * x), model.encode(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [5]}, r"two levels or more, of two units or more, got \[5\]"),
        ({"hidden": [5, 1]}, r"got \[5, 1\]"),
        ({"weights": [1.0]}, r"one weight for each of 2 levels, finite and at least 0, got \[1.0\]"),
        ({"weights": [1.0, -1.0]}, r"got \[1.0, -1.0\]"),
        ({"activation": "step"}, "activation must be one of"),
        ({"code_corruption": SwapNoise()}, "Codes cannot be corrupted by SwapNoise"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalDAE(**({"shape": [6], "hidden": [5, 4]} | arguments))
