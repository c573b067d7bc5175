import pytest
import torch
from torch import nn
from torch.nn import functional

from daezoo.networks.mlp import AutoencoderLayer, MLPAutoencoder

every_activation = pytest.mark.parametrize("activation", ["sigmoid", "relu"])
tied_and_untied = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def randomize(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def s(activation: str, x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + (-x).exp()) if activation == "sigmoid" else x.clamp(min=0)


def test_tied_weights_are_one_parameter_and_one_entry_of_the_state_dict():
    layer = AutoencoderLayer(7, 3, "sigmoid", tied=True)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (3, 7),
        "bias": (3,),
        "visible_bias": (7,),
    }
    untied = AutoencoderLayer(7, 3, "sigmoid", tied=False)
    assert untied.state_dict().keys() - layer.state_dict().keys() == {"decoder_weight"}
    with pytest.raises(RuntimeError, match="decoder_weight"):
        untied.load_state_dict(layer.state_dict())


@tied_and_untied
def test_parameter_counts(tied):
    network = MLPAutoencoder(10, [6, 4], "relu", tied)
    weights, biases = 10 * 6 + 6 * 4, (6 + 4) + (10 + 6)
    assert sum(parameter.numel() for parameter in network.parameters()) == (1 if tied else 2) * weights + biases


@every_activation
@tied_and_untied
def test_encode_and_decode_are_the_papers_formulas(activation, tied):
    network = MLPAutoencoder(5, [4, 3], activation, tied)
    randomize(network)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    low, high = network.layers
    down_low, down_high = (layer.weight.T if tied else layer.decoder_weight for layer in (low, high))

    hidden = s(activation, torch.einsum("hv,bv->bh", low.weight, x) + low.bias)
    code = s(activation, torch.einsum("hv,bv->bh", high.weight, hidden) + high.bias)
    back = s(activation, torch.einsum("vh,bh->bv", down_high, code) + high.visible_bias)
    output = torch.einsum("vh,bh->bv", down_low, back) + low.visible_bias

    torch.testing.assert_close(network.encode(x), code)
    torch.testing.assert_close(network.decode(code), output)
    torch.testing.assert_close(low.encode(x), hidden)
    torch.testing.assert_close(low.decode(back), output)


@tied_and_untied
def test_fresh_weights_are_bounded_as_glorot_proposed_and_biases_zero(tied):
    layer = AutoencoderLayer(100, 50, "sigmoid", tied)
    bound = (6 / (100 + 50)) ** 0.5
    for weight in (layer.weight, layer.decoder_weight):
        if weight is not None:
            assert 0.99 * bound < weight.abs().max() <= bound
    assert not layer.bias.any()
    assert not layer.visible_bias.any()


@pytest.mark.parametrize("hidden", [[], [0], [4, -1]])
def test_a_stack_without_width_is_an_error(hidden):
    with pytest.raises(ValueError, match=r"one hidden layer or more and widths of at least 1, got 5 and \["):
        MLPAutoencoder(5, hidden, "relu", tied=True)


def test_a_k_sparse_code_keeps_the_largest_units_as_they_are():
    dense, sparse = (AutoencoderLayer(7, 5, "linear", tied=True, kept=kept) for kept in (None, 2))
    randomize(dense)
    sparse.load_state_dict(dense.state_dict())
    x = torch.randn(9, 7, generator=torch.Generator().manual_seed(1))
    code, kept = dense.encode(x), sparse.encode(x)
    assert ((kept != 0).sum(1) == 2).all()
    for all_units, units in zip(code, kept, strict=True):
        assert units[units != 0].sort().values.tolist() == all_units.sort().values[-2:].tolist()
        assert torch.equal(all_units[units != 0], units[units != 0])
    for wrong in (0, 6):
        with pytest.raises(ValueError, match=f"between 1 and 5 may be kept, got {wrong}"):
            AutoencoderLayer(7, 5, "linear", tied=True, kept=wrong)


def test_a_k_sparse_network_has_a_sparse_code_alone():
    network = MLPAutoencoder(7, [6, 5], "linear", tied=True, kept=2)
    below, code = network.encode_layers(torch.rand(4, 7), lambda x: x)
    assert (below != 0).all()
    assert ((code != 0).sum(1) == 2).all()


def test_a_code_may_have_units_of_another_kind_than_the_layers_below():
    torch.manual_seed(0)
    network = MLPAutoencoder(7, [6, 5, 2], "relu", tied=False, code_activation="linear")
    x = torch.randn(50, 7)
    *lower, code = network.encode_layers(x, lambda layer: layer)
    assert all((layer >= 0).all() for layer in lower) and (code < 0).any()
    torch.testing.assert_close(code, functional.linear(lower[-1], network.layers[2].weight, network.layers[2].bias))
    (up, middle, bottom) = (network.layers[k] for k in (2, 1, 0))
    expected = bottom.decode(middle.decode(up.decode(code).relu()).relu())
    torch.testing.assert_close(network.decode(code), expected)
