import pytest
import torch
from torch import nn
from torch.nn import functional as F

from daezoo.networks.residual import NoisePredictor


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (32, 33)], ids=str)
@pytest.mark.parametrize(("colors", "depth"), [(1, 2), (3, 4)])
def test_an_untrained_network_predicts_no_noise_in_images_of_any_size(colors, depth, size):
    network = NoisePredictor(colors, width=6, depth=depth)
    images = 100 * torch.randn(3, colors, *size)
    assert torch.equal(network(images), torch.zeros_like(images))
    assert network.features(images).shape == (3, 6, *size)
    assert network.features(images).any()


def test_prediction_is_a_chain_of_convolutions_with_relu_between():
    torch.manual_seed(0)
    network = NoisePredictor(2, width=5, depth=4)
    nn.init.normal_(network.last.weight)
    nn.init.normal_(network.last.bias)
    images = torch.randn(3, 2, 9, 7)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4

    hidden = images
    for layer in convolutions[:-1]:
        hidden = F.relu(F.conv2d(hidden, layer.weight, layer.bias, padding=1))
    torch.testing.assert_close(network.features(images), hidden)
    expected = F.conv2d(hidden, network.last.weight, network.last.bias, padding=1)
    torch.testing.assert_close(network(images), expected)
    assert network(images).min() < 0 < network(images).max()


def test_a_pixel_is_denoised_from_its_neighbourhood_of_the_depth_only():
    torch.manual_seed(0)
    network = NoisePredictor(1, width=8, depth=3)
    nn.init.normal_(network.last.weight)
    image = torch.randn(1, 1, 15, 15)
    touched = image.clone()
    touched[..., 7, 7] += 1
    changed = (network(image) != network(touched))[0, 0].nonzero()
    assert changed.min() == 7 - 3
    assert changed.max() == 7 + 3


def test_hidden_layers_start_at_the_scale_that_keeps_the_signals_size_through_relu():
    torch.manual_seed(0)
    network = NoisePredictor(1, width=64, depth=6)
    features = network.features(torch.randn(4, 1, 24, 24))
    # Kaiming: E h² stays at about 1 at every depth; zero padding and finite width leave some play.
    assert 0.3 < features.square().mean().item() < 3


@pytest.mark.parametrize(("width", "depth"), [(4, 1), (0, 3)])
def test_a_network_without_hidden_layer_or_width_is_an_error(width, depth):
    with pytest.raises(ValueError, match=f"got depth={depth}, width={width}"):
        NoisePredictor(1, width, depth)
