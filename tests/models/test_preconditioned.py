from math import inf, log

import pytest
import torch

from daezoo.architectures import ConvStack, Points, UNet
from daezoo.batch import Batch
from daezoo.corruption import Clean, Gaussian, Masking
from daezoo.data import DensityData, DigitsData
from daezoo.densities import Gaussian as Normal
from daezoo.densities import circle
from daezoo.losses import CrossEntropy
from daezoo.models import PreconditionedDAE
from daezoo.optim import AdamW
from daezoo.randomness import StepNoise, generator
from daezoo.schedule import LogUniform

SMALL = UNet((4, 8), 1)


def of(shape, **options) -> PreconditionedDAE:
    torch.manual_seed(0)
    network = SMALL if len(shape) == 3 else Points(32, 2)
    return PreconditionedDAE(shape, network, **options).eval()


@pytest.mark.parametrize("shape", [[1, 8, 8], [3]], ids=str)
def test_untrained_it_is_the_best_denoiser_of_a_gaussian(shape):
    model, size = of(shape, data_mean=0.2, data_std=0.7), torch.tensor(shape).prod()
    density = Normal(torch.full((size,), 0.2), 0.49 * torch.eye(size))
    noisy, level = torch.randn(5, *shape, generator=generator(0)), torch.tensor([0.01, 0.1, 1.0, 3.0, 10.0])
    best = density.posterior_mean(noisy.flatten(1), level).view_as(noisy)
    torch.testing.assert_close(model.denoise(noisy, level).double(), best, atol=1e-6, rtol=1e-5)


def test_the_network_sees_unit_variance_and_a_quarter_of_the_logarithm_of_the_level():
    model = of([2], data_mean=1.0, data_std=0.5)
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args))
    clean = 1 + 0.5 * torch.randn(20_000, 2, generator=generator(1))
    model.denoise(clean + 3 * torch.randn(clean.shape, generator=generator(2)), 3.0)
    inside, told = seen[0]
    assert inside.mean().abs() < 0.02
    assert inside.std().item() == pytest.approx(1, abs=0.02)
    assert (told == told[0]).all()
    assert told[0].item() == pytest.approx(log(3.0) / 4)


def test_weights_of_levels_by_hand():
    level = torch.tensor([0.1, 2.0])
    # (s² + σ²) / (s σ)² for s = 0.5: (0.25 + 0.01) / 0.0025 and (0.25 + 4) / 1
    torch.testing.assert_close(of([2], data_std=0.5).level_weight(level), torch.tensor([104.0, 4.25]))
    torch.testing.assert_close(of([2], weighting="score").level_weight(level), torch.tensor([100.0, 0.25]))
    assert of([2], weighting="error").level_weight(level) == 1.0
    # levels below the lowest count as that
    torch.testing.assert_close(of([2], weighting="score", lowest=0.5).level_weight(level), torch.tensor([4.0, 0.25]))


def test_the_loss_is_weighted_sample_by_sample():
    data = DensityData(train=64, corruption=Gaussian(LogUniform(0.1, 1.0)), batch_size=64)
    model = of([2], weighting="score")
    batch = next(data.evaluation_batches("train"))
    errors = (model.denoise(batch.noisy, batch.level) - batch.clean).square().sum(1) / batch.level.square()
    torch.testing.assert_close(model.loss_terms(batch)["reconstruction"], errors.mean())


def test_after_some_steps_it_is_nearer_to_the_best_denoiser():
    density, corruption, model = (
        circle(),
        Gaussian(LogUniform(0.05, 2.0)),
        of([2], data_std=0.7, optimizer=AdamW(5e-3)).train(),
    )
    optimizer = model.configure_optimizers()
    points = density.sample(500, generator(3)).float()
    noisy = points + 0.2 * torch.randn(points.shape, generator=generator(4))
    best = density.posterior_mean(noisy, 0.2).float()
    before = (model.denoise(noisy, 0.2) - best).square().mean().item()
    for step in range(150):
        clean = density.sample(256, generator("clean", step)).float()
        seen, level, _ = corruption(clean, generator("noise", step))
        optimizer.zero_grad()
        (model.loss(model(seen, level), clean) * model.level_weight(level)).mean().backward()
        optimizer.step()
    assert (model.denoise(noisy, 0.2) - best).square().mean().item() < 0.5 * before


def test_codes_are_the_smallest_maps_averaged_or_the_last_hidden_layer():
    assert of([1, 8, 8]).encode(torch.rand(3, 1, 8, 8)).shape == (3, 8)
    assert of([4]).encode(torch.rand(3, 4)).shape == (3, 32)
    model, x = of([1, 8, 8]), torch.rand(3, 1, 8, 8, generator=generator(5))
    expected = model.network.code((x - 0.0) * (0.25 + 0.01**2) ** -0.5, torch.full((3,), log(0.01) / 4))
    torch.testing.assert_close(model.encode(x), expected)


def test_noisy_samples_may_lie_far_out_but_clean_ones_may_not():
    model = of([1, 8, 8])
    model.value_range = (0.0, 1.0)
    assert model.denoise(100 * torch.randn(2, 1, 8, 8, generator=generator(6)), 100.0).isfinite().all()
    with pytest.raises(ValueError, match="Rescale them first"):
        model.encode(torch.full((2, 1, 8, 8), 200.0))
    with pytest.raises(ValueError, match=r"Convert the samples: x\.to\(torch\.float32\)"):
        model.denoise(torch.rand(2, 1, 8, 8, dtype=torch.float64), 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "none"}, "must be told the level: condition film, sinusoidal or map"),
        ({"network": Points()}, r"Points is for vectors \(D,\), got samples of shape \(1, 8, 8\)"),
        ({"loss": CrossEntropy()}, "cannot train with CrossEntropy. Use SquaredError"),
        ({"data_std": 0.0}, "finite data_std > 0 and lowest > 0, got data_mean=0.0, data_std=0.0"),
        ({"lowest": 0.0}, "lowest=0.0"),
        ({"data_mean": inf}, "data_mean=inf"),
        ({"weighting": "snr"}, "edm, score, error, got 'snr'"),
        ({"classes": -1}, "classes >= 0 and unlabelled in"),
        ({"classes": 2, "unlabelled": 0.0}, r"unlabelled in \(0, 1\), got classes=2, unlabelled=0.0"),
        ({"classes": 2, "condition": "map"}, "told classes by an embedding: condition film or sinusoidal, got map"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        PreconditionedDAE([1, 8, 8], **options)


def test_other_shapes_networks_and_levels_are_errors():
    with pytest.raises(ValueError, match=r"ConvStack is for images \(C, H, W\), got samples of shape \(5,\)"):
        PreconditionedDAE([5], ConvStack())
    with pytest.raises(ValueError, match="Vectors have no map"):
        PreconditionedDAE([5], condition="map")
    with pytest.raises(ValueError, match="told classes by an embedding"):
        Points().build(5, "none", 3)
    model = of([2])
    with pytest.raises(ValueError, match="was not told classes"):
        model(torch.zeros(3, 2), 1.0, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"pass it, denoise\(noisy, sigma\)"):
        model.denoise(torch.zeros(3, 2))
    for level in (-1.0, inf, torch.ones(2)):
        with pytest.raises(ValueError, match="one for each of the 3 samples, finite and at least 0"):
            model.denoise(torch.zeros(3, 2), level)


@pytest.mark.parametrize("corruption", [Clean(), Masking(), Gaussian(0.0)], ids=str)
def test_only_gaussian_noise_of_a_level_above_0_trains_it(corruption):
    with pytest.raises(ValueError, match="is for Gaussian noise of a level above 0"):
        of([2]).check_corruption(corruption)
    of([2]).check_corruption(Gaussian(LogUniform(0.01, 1.0)))


def test_networks_have_defaults_for_images_and_for_vectors():
    assert PreconditionedDAE([2]).filters() is None
    assert PreconditionedDAE(DigitsData().shape).filters().shape == (32, 1, 3, 3)


def told_classes(shape, **options) -> PreconditionedDAE:
    """A model of three classes, of random weights, as no layer of it starts at zero."""
    model = of(shape, classes=3, **options)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3, generator=generator(7))
    return model


def labelled(clean, label, step=0) -> Batch:
    noise, corruption = StepNoise(0, step), Gaussian(LogUniform(0.1, 3.0))
    noisy, level, mask = noise(corruption, clean)
    return Batch(noisy, clean, level, mask, label, label, noise, None, corruption)


@pytest.mark.parametrize("condition", ["film", "sinusoidal"])
@pytest.mark.parametrize("shape", [[1, 8, 8], [3]], ids=str)
def test_each_sample_is_denoised_as_one_of_its_class(shape, condition):
    model, noisy = told_classes(shape, condition=condition), torch.randn(4, *shape, generator=generator(8))
    unknown = model(noisy, 0.5)
    label = torch.tensor([0, -1, 2, 1])
    found = model(noisy, 0.5, label)
    torch.testing.assert_close(found[1], unknown[1])
    for row in (0, 2, 3):
        assert not torch.allclose(found[row], unknown[row], atol=1e-3)
        torch.testing.assert_close(found[row], model(noisy, 0.5, label[row].expand(4))[row])
    assert model.encode(noisy.clamp(0, 1)).isfinite().all()
    assert model(noisy[:0], 0.5, label[:0]).shape == model(noisy[:0], 0.5).shape == (0, *shape)


def test_training_hides_some_labels_and_tells_the_others():
    model, count = told_classes([3], unlabelled=0.3), 20_000
    seen = []
    model.network.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    label = torch.arange(count) % 3
    batch = labelled(torch.zeros(count, 3), label)
    model.loss_terms(batch)
    torch.testing.assert_close(seen[0][:, 0], batch.level.log() / 4)
    told = seen[0][:, 1:]
    hidden = told.sum(1) == 0
    assert (told[~hidden] == torch.eye(3)[label[~hidden]]).all()
    output = torch.zeros(count, 3)
    assert model.loss_terms(batch, output) == model.terms(output, batch)  # what is given, as in validation, is judged
    assert len(seen) == 1
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / count) ** 0.5)


def test_a_class_has_the_denoiser_of_its_own_density():
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    model = of([2], data_std=0.7, classes=2, unlabelled=0.2, optimizer=AdamW(5e-3)).train()
    optimizer = model.configure_optimizers()
    for step in range(200):
        label = torch.randint(2, (256,), generator=generator("label", step))
        clean = centres[label] + 0.1 * torch.randn(256, 2, generator=generator("clean", step))
        optimizer.zero_grad()
        model.loss_terms(labelled(clean, label, step))["reconstruction"].backward()
        optimizer.step()
    # halfway between the two and noisy, the best guess is near the class's centre, and of neither near 0
    noisy, model = torch.zeros(3, 2), model.eval()
    found = model(noisy, 1.0, torch.tensor([0, 1, -1]))
    torch.testing.assert_close(found, torch.tensor([[-0.99, 0.0], [0.99, 0.0], [0.0, 0.0]]), atol=0.15, rtol=0)


def test_labels_must_be_classes():
    clean, model = torch.zeros(3, 3), told_classes([3])
    model.check_batch(labelled(clean, torch.tensor([0, 1, 2])))
    for label in ([0, 1, 3], [-1, 0, 1]):
        with pytest.raises(ValueError, match="with 3 classes needs labels from 0 to 2, got"):
            model.check_batch(labelled(clean, torch.tensor(label)))
