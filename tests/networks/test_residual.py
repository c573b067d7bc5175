from math import cos, pi, sin

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from daezoo.networks import residual
from daezoo.networks.residual import (
    EMBEDDING,
    Condition,
    ConvStack,
    Embedding,
    Modulated,
    NoisePredictor,
    UNet,
    mirrored,
)

BUILDS = {
    "stack": lambda colors, condition: ConvStack(colors, condition, 6, 4),
    "stack with batch norm": lambda colors, condition: ConvStack(colors, condition, 6, 4, True),
    "shuffled stack": lambda colors, condition: ConvStack(colors, condition, 6, 3, False, 2),
    "stack shuffled by three": lambda colors, condition: ConvStack(colors, condition, 6, 3, False, 3),
    "u-net": lambda colors, condition: UNet(colors, condition, (4, 6, 8), 1),
    "shuffled u-net": lambda colors, condition: UNet(colors, condition, (4, 6), 1, 2),
    "u-net of one scale": lambda colors, condition: UNet(colors, condition, (4,), 2),
}
IMAGE = torch.rand(1, 1, 8, 12, generator=torch.Generator().manual_seed(0))
CONDITIONS: tuple[Condition, ...] = ("none", "map", "film", "sinusoidal")
every_build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
every_condition = pytest.mark.parametrize("condition", CONDITIONS)


def stirred(network: NoisePredictor) -> NoisePredictor:
    """The network with no layer left at zero, in eval mode."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


@every_condition
@every_build
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (32, 33)], ids=str)
def test_an_untrained_network_predicts_no_noise_in_images_of_any_size(build, condition, size):
    network = build(3, condition).eval()
    images, level = 100 * torch.randn(2, 3, *size), torch.tensor([0.1, 0.2])
    assert torch.equal(network(images, level), torch.zeros_like(images))
    assert network.features(images, level).any()
    assert stirred(network)(images, level).shape == images.shape


@every_condition
@every_build
def test_a_network_sees_the_noise_level_of_each_image_where_it_is_conditioned_on_it(build, condition):
    network, image = stirred(build(1, condition)), torch.rand(1, 1, 8, 8)
    images = image.expand(3, -1, -1, -1)
    low, high, again = network(images, torch.tensor([0.1, 0.3, 0.1]))
    torch.testing.assert_close(low, again)
    assert torch.allclose(low, high) == (condition == "none")
    torch.testing.assert_close(network(images, torch.full((3,), 0.3))[0], high)


@every_condition
@every_build
def test_every_parameter_gets_a_gradient(build, condition):
    network = stirred(build(1, condition)).train()
    network(torch.rand(2, 1, 16, 16), torch.tensor([0.1, 0.3])).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@every_build
def test_a_pixel_is_denoised_from_its_neighbourhood_within_the_reach_only(build):
    network = stirred(build(1, "none")).double()
    side = -(-(2 * network.reach + 5) // network.stride) * network.stride
    image = torch.randn(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    network(image)[0, 0, side // 2, side // 2].backward()
    assert image.grad is not None
    touched = image.grad[0, 0].nonzero() - side // 2
    assert 0 < touched.abs().max() <= network.reach
    assert touched.abs().max() >= network.reach - 2 * network.stride  # not much further than needed


def test_a_stack_is_a_chain_of_convolutions_with_relu_between():
    network = stirred(ConvStack(2, "none", 5, 4))
    images = torch.randn(3, 2, 9, 7)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4
    hidden = images
    for layer in convolutions[:-1]:
        hidden = F.relu(F.conv2d(hidden, layer.weight, layer.bias, padding=1))
    torch.testing.assert_close(network.features(images), hidden)
    expected = F.conv2d(hidden, network.last.weight, network.last.bias, padding=1)
    torch.testing.assert_close(network(images), expected)


def test_dncnn_and_ffdnet_and_drunet_have_the_published_parameters():
    def size(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    # published: 556 thousand, 485 thousand, 32.6 million; without the biases before batch norm
    assert size(ConvStack(1, "none", 64, 17, norm=True)) == 556_097
    assert size(ConvStack(1, "map", 64, 15, norm=True, shuffle=2)) == 486_148
    assert size(UNet(1, "map", (64, 128, 256, 512), 4)) == 32_649_920


@pytest.mark.parametrize("norm", [False, True])
def test_all_layers_but_the_first_and_the_last_have_batch_norm(norm):
    network = ConvStack(1, "none", 4, 5, norm)
    assert [isinstance(layer.norm, nn.BatchNorm2d) for layer in network.hidden] == [False, norm, norm, norm]


def test_a_modulated_convolution_is_scaled_and_shifted_by_channel():
    layer, x, embedding = Modulated(1, 2, True), torch.rand(3, 1, 5, 5), torch.rand(3, EMBEDDING)
    plain = F.conv2d(x, layer.convolution.weight, layer.convolution.bias, padding=1)
    torch.testing.assert_close(layer(x, embedding), plain)
    nn.init.normal_(layer.film.weight)
    nn.init.normal_(layer.film.bias)
    by = embedding @ layer.film.weight.T + layer.film.bias
    scale, shift = by[:, :2, None, None], by[:, 2:, None, None]
    torch.testing.assert_close(layer(x, embedding), plain + scale * plain + shift)


@pytest.mark.parametrize("sinusoidal", [False, True])
def test_a_level_is_embedded_as_it_is_or_as_sines_and_cosines(sinusoidal):
    embedding, seen = Embedding(sinusoidal), []
    embedding.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    embedding(torch.tensor([0.25]))
    if not sinusoidal:
        assert torch.equal(seen[0], torch.tensor([[0.25]]))
        return
    angles = [0.25 * pi * 2 ** (8 * k / 15) for k in range(16)]
    expected = torch.tensor([[*map(sin, angles), *map(cos, angles)]])
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=0)


def test_what_went_down_a_u_net_is_added_on_the_way_up():
    network = stirred(UNet(1, "none", (4, 6), 1))
    nn.init.zeros_(network.doubled[0].weight)  # nothing comes back from below
    x = network.down[0](network.first(IMAGE), None)
    torch.testing.assert_close(network.features(IMAGE), network.up[0](x, None))
    nn.init.normal_(network.doubled[0].weight)
    below = network.doubled[0](network.bottom(network.halved[0](x), None))
    torch.testing.assert_close(network.features(IMAGE), network.up[0](x + below, None))


def test_a_size_that_does_not_fit_is_filled_with_the_last_row_and_column():
    network = stirred(UNet(1, "none", (4, 6), 1, 2))
    larger = torch.cat([IMAGE, IMAGE[:, :, -1:].expand(-1, -1, 2, -1)], 2)
    larger = torch.cat([larger, larger[..., -1:].expand(-1, -1, -1, 3)], 3)[:, :, :12, :12]
    cut = larger[:, :, :10, :9]
    torch.testing.assert_close(network(cut), network(F.pad(cut, [0, 3, 0, 2], mode="reflect"))[:, :, :10, :9])


@pytest.mark.parametrize("condition", ["mapp", "None"])
def test_a_condition_that_is_not_known_is_an_error(condition, unchecked):
    with pytest.raises(ValueError, match=rf"one of none, map, film, sinusoidal, got '{condition}'"):
        unchecked(residual).ConvStack(1, condition)


def test_shuffled_is_the_stack_on_four_quarters_of_the_image():
    network, image = stirred(ConvStack(1, "none", 5, 3, shuffle=2)), torch.rand(1, 1, 6, 8)
    parts = torch.stack([image[0, 0, row::2, column::2] for row in (0, 1) for column in (0, 1)])[None]
    hidden = parts
    for layer in network.hidden:
        hidden = F.relu(layer(hidden, None))
    noise = network.last(hidden)[0]
    for number, part in enumerate(noise):
        row, column = divmod(number, 2)
        torch.testing.assert_close(network(image)[0, 0, row::2, column::2], part)


def test_a_map_is_one_more_channel_of_the_noise_level():
    network = stirred(ConvStack(1, "map", 5, 3))
    images, level = torch.rand(2, 1, 6, 8), torch.tensor([0.1, 0.7])
    seen = []
    network.hidden[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images, level)
    assert torch.equal(seen[0][:, :1], images)
    assert torch.equal(seen[0][:, 1], level[:, None, None].expand(2, 6, 8))


@every_build
def test_filters_are_those_on_the_image(build):
    plain, mapped = build(3, "none"), build(3, "map")
    side = 3 * plain.shuffle
    for network in (plain, mapped):
        assert network.filters.shape[1:] == (3, side, side)


def test_a_filter_of_a_shuffled_stack_is_what_it_sees_of_the_image():
    network = stirred(ConvStack(1, "none", 4, 2, shuffle=2))
    first = network.hidden[0].convolution
    nn.init.zeros_(first.bias)
    image = torch.rand(1, 1, 6, 6)
    seen = first(F.pixel_unshuffle(image, 2))[0, :, 1, 1]
    torch.testing.assert_close(seen, (network.filters * image[0]).sum((1, 2, 3)))


def test_hidden_layers_start_at_the_scale_that_keeps_the_signals_size_through_relu():
    torch.manual_seed(0)
    features = ConvStack(1, "none", 64, 6).features(torch.randn(4, 1, 24, 24))
    # Kaiming: E h² stays at about 1 at every depth; zero padding and finite width leave some play.
    assert 0.3 < features.square().mean().item() < 3


@pytest.mark.parametrize("numbers", [(4, 1), (0, 3)])
def test_a_stack_without_hidden_layer_or_width_is_an_error(numbers):
    with pytest.raises(ValueError, match="needs a depth of 2 to 1000 and width >= 1, got depth="):
        ConvStack(1, "none", *numbers)


@pytest.mark.parametrize("network", [lambda: ConvStack(1, "none", shuffle=0), lambda: UNet(0, "none")])
def test_no_channels_and_no_parts_are_an_error(network):
    with pytest.raises(ValueError, match="Channels and shuffle must be at least 1, got colors="):
        network()


@pytest.mark.parametrize("numbers", [((),), ((4, 0),), ((4, 8), 0)])
def test_a_u_net_without_scales_or_width_is_an_error(numbers):
    with pytest.raises(ValueError, match="A U-Net needs one scale or more"):
        UNet(1, "none", *numbers)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 3), (3, 2), (5, 7), (8, 4), (9, 13)])
def test_what_lacks_to_a_multiple_of_the_stride_is_mirrored(height, width):
    images = torch.arange(2.0 * height * width).view(2, 1, height, width)
    found = mirrored(images, 4)
    below, right = -height % 4, -width % 4
    np.testing.assert_array_equal(found, np.pad(images, [(0, 0), (0, 0), (0, below), (0, right)], mode="reflect"))


def test_sizes_that_fit_are_left_alone():
    images = torch.rand(1, 3, 8, 12)
    assert mirrored(images, 4) is images
