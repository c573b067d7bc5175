import pytest
import torch
from torch.nn import functional as F

from daezoo.networks.conv import ConvAutoencoder


@pytest.mark.parametrize(
    ("shape", "channels", "code"),
    [((1, 8, 8), [4], 3), ((3, 12, 20), [5, 6], 7), ((2, 8, 16), [4, 4, 4], 1)],
)
def test_codes_are_vectors_and_reconstructions_images(shape, channels, code):
    network = ConvAutoencoder(shape, channels, code)
    images = torch.rand(2, *shape)
    assert network.encode(images).shape == (2, code)
    assert network.decode(network.encode(images)).shape == images.shape


def test_encode_and_decode_are_strided_convolutions_with_a_linear_code_and_output():
    torch.manual_seed(0)
    network = ConvAutoencoder((2, 8, 12), [3, 5], 4)
    images = torch.randn(6, 2, 8, 12)
    first, _, second, *_, to_code = network.encoder
    from_code, _, _, up_second, _, up_first = network.decoder

    below = F.relu(F.conv2d(images, first.weight, first.bias, stride=2, padding=1))
    above = F.relu(F.conv2d(below, second.weight, second.bias, stride=2, padding=1))
    assert above.shape == (6, 5, 2, 3)
    code = above.flatten(1) @ to_code.weight.T + to_code.bias
    torch.testing.assert_close(network.encode(images), code)

    above = F.relu((code @ from_code.weight.T + from_code.bias).view(6, 5, 2, 3))
    below = F.relu(F.conv_transpose2d(above, up_second.weight, up_second.bias, stride=2, padding=1))
    output = F.conv_transpose2d(below, up_first.weight, up_first.bias, stride=2, padding=1)
    torch.testing.assert_close(network.decode(code), output)
    assert code.min() < 0 < code.max()
    assert sum(parameter.numel() for parameter in network.parameters()) == sum(
        (2 * 3 * 9 + 3, 3 * 5 * 9 + 5, 30 * 4 + 4, 4 * 30 + 30, 5 * 3 * 16 + 3, 3 * 2 * 16 + 2)
    )


@pytest.mark.parametrize(
    ("shape", "channels", "code", "message"),
    [
        ((1, 10, 8), [4, 4], 3, "divided by 4, got 10x8"),
        ((1, 8, 10), [4, 4], 3, "divided by 4, got 8x10"),
        ((1, 28, 28), [4, 4, 4], 3, "divided by 8, got 28x28"),
        ((64,), [4], 3, r"needs images \(C, H, W\), got samples of shape \(64,\)"),
        ((1, 8, 8), [], 3, "one stage or more"),
        ((1, 8, 8), [4, 0], 3, "widths >= 1"),
        ((1, 8, 8), [4], 0, "widths >= 1"),
    ],
)
def test_what_does_not_fit_is_an_error_when_the_network_is_built(shape, channels, code, message):
    with pytest.raises(ValueError, match=message):
        ConvAutoencoder(shape, channels, code)


def test_batch_norm_normalises_each_channel_over_the_batch_in_training_and_by_running_statistics_after():
    torch.manual_seed(0)
    network = ConvAutoencoder((2, 8, 8), [3], None, batch_norm=True)
    images = torch.randn(6, 2, 8, 8)
    maps = F.conv2d(images, network.encoder[0].weight, network.encoder[0].bias, stride=2, padding=1)
    mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(network.encode(images), F.relu((maps - mean) / (variance + 1e-5).sqrt()))

    network.eval()
    mean, variance = 0.1 * mean, 0.9 + 0.1 * maps.var((0, 2, 3), keepdim=True)
    expected = F.relu((maps - mean) / (variance + 1e-5).sqrt())
    torch.testing.assert_close(network.encode(images), expected)
    torch.testing.assert_close(network.encode(images[:1]), expected[:1])
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.decoder)
