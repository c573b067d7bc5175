from dataclasses import replace
from itertools import product
from math import inf, nan, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daezoo import corruption as module
from daezoo.corruption import (
    JPEG,
    BlockMasking,
    Blur,
    Clean,
    Compose,
    Corruption,
    Gaussian,
    GaussianMasking,
    Masking,
    OneOf,
    Poisson,
    Reservoir,
    SaltAndPepper,
    Scratches,
    Speckle,
    SwapNoise,
)
from daezoo.randomness import SampleNoise
from daezoo.schedule import Fixed, Progressive, Uniform

CORRUPTIONS = [
    Clean(),
    Gaussian(0.5),
    Gaussian(Uniform(0.1, 0.9)),
    Masking(0.3),
    Masking(Progressive(0.0, 0.5)),
    SaltAndPepper(0.3),
    GaussianMasking(0.3),
    BlockMasking(0.3, size=2),
    BlockMasking(Uniform(0.0, 1.0), size=9),
    Compose(Gaussian(0.5), Masking(0.3)),
    OneOf([SaltAndPepper(0.3), Gaussian(0.5), Clean()]),
    Poisson(0.1),
    Poisson(Uniform(0.0, 0.5)),
    Speckle(0.3),
    SwapNoise(0.3),
    SwapNoise(Uniform(0.0, 1.0)),
]
OF_IMAGES = [
    Blur(1.2),
    Blur(Uniform(0.0, 2.0)),
    JPEG(0.7),
    JPEG(Uniform(0.1, 0.9)),
    Compose(Blur(1.2), Gaussian(0.1)),
    Scratches(),
    Scratches(Uniform(0.0, 5.0), value=-1.0),
]
LEVELLED = [Gaussian, Masking, SaltAndPepper, GaussianMasking, BlockMasking, Poisson, Speckle, SwapNoise]
RATIOS = [Masking, SaltAndPepper, GaussianMasking, BlockMasking]


def name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


every_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=name)
every_levelled = pytest.mark.parametrize("kind", LEVELLED, ids=name)
every_ratio = pytest.mark.parametrize("kind", RATIOS, ids=name)
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_mean(draws: Tensor, expected: float, variance: float) -> None:
    # Independent draws of known variance: the bound is 5 standard errors, which chance passes once in 2 million.
    bound = 5 * sqrt(variance / draws.numel())
    assert abs(draws.double().mean().item() - expected) < bound


def assert_standard_normal(draws: Tensor) -> None:
    assert_mean(draws, 0.0, 1.0)
    assert_mean(draws.double() ** 2, 1.0, 2.0)
    assert_mean(draws.double() ** 4, 3.0, 96.0)


def test_every_corruption_of_the_module_is_in_the_list_of_these_tests():
    found = {kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Corruption)}
    assert {type(corruption) for corruption in CORRUPTIONS + OF_IMAGES} == found - {Corruption, module.Recorded}


DRAWN = {
    "dtype": st.sampled_from([torch.float32, torch.float64]),
    "seed": st.integers(0, 2**63 - 1),
    "progress": st.floats(0, 1),
}


@every_corruption
@quick
@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), **DRAWN)
def test_laws_of_every_corruption(corruption, shape, dtype, seed, progress):
    check_laws(corruption, shape, dtype, seed, progress)


@pytest.mark.parametrize("corruption", OF_IMAGES, ids=name)
@quick
@given(channels=st.sampled_from([1, 3]), sides=st.lists(st.integers(1, 9), min_size=3, max_size=3), **DRAWN)
def test_laws_of_every_corruption_of_images(corruption, channels, sides, dtype, seed, progress):
    check_laws(corruption, [sides[0], channels, *sides[1:]], dtype, seed, progress)


def check_laws(corruption, shape, dtype, seed, progress):
    clean = torch.rand(shape, generator=seeded(1), dtype=dtype) - 0.3
    before, global_state = clean.clone(), torch.get_rng_state()

    noisy, level, mask = corruption(clean, seeded(seed), progress)

    assert (noisy.shape, noisy.dtype) == (clean.shape, dtype)
    assert (mask.shape, mask.dtype) == (clean.shape, torch.bool)
    assert level.shape == (len(clean),)
    assert noisy.isfinite().all()
    assert torch.equal(noisy[~mask], clean[~mask])
    assert torch.equal(clean, before)
    assert noisy.data_ptr() != clean.data_ptr()
    assert torch.equal(torch.get_rng_state(), global_state)
    again = corruption(clean, seeded(seed), progress)
    assert all(torch.equal(first, second) for first, second in zip((noisy, level, mask), again, strict=True))


@pytest.mark.parametrize("corruption", CORRUPTIONS[1:], ids=name)
def test_another_seed_gives_other_noise_and_no_generator_draws_from_torchs_own(corruption):
    clean = torch.rand(16, 3, 8, 8, generator=seeded())
    assert not torch.equal(corruption(clean, seeded(0)).noisy, corruption(clean, seeded(1)).noisy)
    torch.manual_seed(5)
    ours = corruption(clean).noisy
    assert not torch.equal(ours, corruption(clean).noisy)
    torch.manual_seed(5)
    assert torch.equal(ours, corruption(clean).noisy)


@pytest.mark.parametrize(
    "corruption",
    [
        *(kind().at(0.0) for kind in LEVELLED),
        *(kind(Uniform(0.0, 0.0)) for kind in LEVELLED),
        Blur(0.0),
        Clean(),
        Compose(Gaussian(0.0), Masking(0.0)),
        OneOf([BlockMasking(0.0), GaussianMasking(0.0)]),
    ],
    ids=name,
)
def test_level_zero_is_the_identity(corruption):
    clean = torch.randn(50, 2, 5, 5, generator=seeded())
    noisy, level, mask = corruption(clean, seeded(1))
    assert torch.equal(noisy, clean)
    assert not mask.any()
    assert torch.equal(level, torch.zeros(50))


@every_ratio
def test_ratio_one_corrupts_every_element(kind):
    clean = torch.full((50, 2, 5, 5), 0.5)
    noisy, level, mask = kind(1.0)(clean, seeded())
    assert mask.all()
    assert (noisy != clean).all()
    assert torch.equal(level, torch.ones(50))


@every_ratio
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.75])
def test_each_element_is_masked_with_probability_ratio(kind, ratio):
    mask = kind(ratio)(torch.ones(20_000, 1, 6, 6), seeded()).mask[:, 0].double()
    for row, column in product(range(6), range(6)):
        assert_mean(mask[:, row, column], ratio, ratio * (1 - ratio))
    shares = mask.flatten(1).mean(1)
    assert_mean(shares, ratio, shares.var().item())
    if kind is not BlockMasking:
        # Independent elements: the shares' variance is p(1-p)/36, known to √(2/20000) = 1%; five times that is 5%.
        assert shares.var().item() == pytest.approx(ratio * (1 - ratio) / 36, rel=0.05)


def test_gaussian_noise_is_normal_with_the_given_deviation_and_knows_nothing_of_the_data():
    clean = torch.rand(400, 1000, generator=seeded())
    noisy, level, mask = Gaussian(0.3)(clean, seeded(1))
    noise = (noisy - clean) / 0.3
    assert_standard_normal(noise)
    assert_mean(noise * (clean - 0.5), 0.0, 1 / 12)
    assert mask.all()
    assert torch.equal(level, torch.full((400,), 0.3))


def test_first_gaussian_values_of_a_seed():
    clean = torch.tensor([[0.0, 0.5, 1.0], [0.25, 0.75, -2.0]])
    expected = clean + 0.3 * torch.randn(2, 3, generator=seeded(7))
    assert torch.equal(Gaussian(0.3)(clean, seeded(7)).noisy, expected)


def test_first_masked_values_of_a_seed():
    clean = torch.tensor([[0.1, 0.5, 1.0], [0.25, 0.75, -2.0]])
    draws = torch.empty(2, dtype=torch.int64).random_(-(2**63), None, generator=seeded(7))
    survives = draws.view(torch.int16)[:6].view(2, 3) >= 0  # 16 bits each, and half of all numbers are negative
    assert 0 < survives.sum() < 6
    assert torch.equal(Masking(0.5)(clean, seeded(7)).noisy, clean * survives)


def test_masking_does_not_rescale_the_survivors():
    noisy, _, mask = Masking(0.3)(torch.ones(1000, 1000), seeded())
    assert_mean(noisy, 0.7, 0.3 * 0.7)
    assert torch.equal(noisy, (~mask).float())


def test_salt_and_pepper_halves():
    noisy, _, mask = SaltAndPepper(0.4, low=-1.0, high=2.0)(torch.full((500, 1000), 0.5), seeded())
    assert set(noisy.unique().tolist()) == {-1.0, 0.5, 2.0}
    assert_mean(noisy == -1.0, 0.2, 0.2 * 0.8)
    assert_mean(noisy == 2.0, 0.2, 0.2 * 0.8)
    assert torch.equal(mask, noisy != 0.5)


def test_gaussian_masking_replaces_elements_by_noise_that_does_not_depend_on_them():
    one, other = torch.zeros(400, 1000), torch.full((400, 1000), 3.0)
    noisy, _, mask = GaussianMasking(0.5, sigma=0.2)(one, seeded())
    assert_standard_normal(noisy[mask] / 0.2)
    assert torch.equal(GaussianMasking(0.5, sigma=0.2)(other, seeded()).noisy[mask], noisy[mask])


@pytest.mark.parametrize(("shape", "size"), [((3, 12, 12), 4), ((30,), 5)], ids=["images", "vectors"])
def test_block_masking_masks_blocks_of_the_size_on_a_grid_of_random_offset(shape, size):
    clean = torch.ones(4000, *shape)
    noisy, _, mask = BlockMasking(0.5, size)(clean, seeded())
    assert torch.equal(noisy, (~mask).float())
    if len(shape) == 3:
        assert torch.equal(mask, mask[:, :1].expand_as(mask))
        mask = mask[:, 0]
    else:
        mask = mask[:, None]
    height, width = mask.shape[1:]
    fits = torch.stack(
        [
            (mask == mask[:, block_starts(height, top, size)][:, :, block_starts(width, left, size)]).flatten(1).all(1)
            for top, left in product(range(size if height > 1 else 1), range(size))
        ]
    )
    assert fits.any(0).all()
    # Neighbours lie in different blocks once in `size` offsets, and then differ with probability 1/2: a larger block
    # would also be constant on the grid, but change less often.
    changes = (mask[:, :, 1:] != mask[:, :, :-1]).double().mean((1, 2))
    assert_mean(changes, 0.5 / size, changes.var().item())


def block_starts(length: int, offset: int, size: int) -> Tensor:
    return ((torch.arange(length) + offset) // size * size - offset).clamp(min=0)


def test_compose_applies_the_first_and_then_the_second():
    clean = torch.ones(200, 50)
    noise_last = Compose(Masking(1.0), GaussianMasking(0.5, sigma=1.0))(clean, seeded())
    assert torch.equal(noise_last.noisy != 0.0, GaussianMasking(0.5)(clean, after_masking(clean)).mask)
    mask_last = Compose(GaussianMasking(0.5, sigma=1.0), Masking(1.0))(clean, seeded())
    assert torch.equal(mask_last.noisy, torch.zeros_like(clean))
    assert torch.equal(mask_last.level, torch.ones(200))


def after_masking(clean: Tensor) -> torch.Generator:
    generator = seeded()
    Masking(1.0)(clean, generator)
    return generator


def test_a_ratio_finer_than_the_16_bits_of_a_draw_is_met():
    # rounding to whole steps of 2**-16 would miss these by half a step
    for steps in (0.5, 1.5):
        mask = Masking(steps / 2**16)(torch.ones(40_000, 1_000), seeded()).mask
        ratio = steps / 2**16
        # elements of a sample share one rounded threshold, which adds its own variance to the mean's
        variance = ratio * (1 - ratio) / mask.numel() + (2**-16) ** 2 * (steps % 1) * (1 - steps % 1) / len(mask)
        assert abs(mask.double().mean().item() - ratio) < 5 * sqrt(variance)
        assert 5 * sqrt(variance) < 0.4 * 2**-16


def test_compose_reports_the_union_of_the_masks():
    noisy, _, mask = Compose(Masking(0.5), Masking(0.5))(torch.ones(500, 1000), seeded())
    assert torch.equal(mask, noisy == 0.0)
    assert_mean(mask, 0.75, 0.75 * 0.25)


def test_one_of_picks_one_corruption_for_each_whole_sample_and_each_equally_often():
    choices = [Clean(), Masking(1.0), SaltAndPepper(0.9999, low=5.0, high=6.0)]
    noisy, level, mask = OneOf(choices)(torch.ones(9000, 20), seeded())
    untouched, masked, salted = (noisy == 1.0).all(1), (noisy == 0.0).all(1), (noisy >= 5.0).any(1)
    assert torch.equal(untouched.int() + masked.int() + salted.int(), torch.ones(9000, dtype=torch.int32))
    for picked in (untouched, masked, salted):
        assert_mean(picked, 1 / 3, 2 / 9)
    assert torch.equal(level, 1.0 * masked + 0.9999 * salted)
    assert torch.equal(mask, noisy != 1.0)


def test_uniform_levels_are_the_noise_of_their_own_samples():
    noisy, level, _ = Gaussian(Uniform(0.2, 0.8))(torch.zeros(200, 5000), seeded())
    assert len(level.unique()) > 190
    # A deviation estimated from n normal draws has a relative standard error of 1/√(2n) = 1%.
    torch.testing.assert_close(noisy.std(1), level, rtol=0.05, atol=0.0)
    *_, ratio, mask = Masking(Uniform(0.2, 0.8))(torch.ones(200, 5000), seeded())
    assert len(ratio.unique()) > 190
    for row in range(200):
        assert_mean(mask[row], ratio[row].item(), 0.25)


@every_levelled
def test_progressive_levels_follow_the_progress_and_end_at_stop_outside_training(kind):
    corruption, clean = kind(Progressive(0.2, 0.6)), torch.ones(10, 4)
    for progress, level in ((0.0, 0.2), (0.25, 0.3), (1.0, 0.6)):
        reported = corruption(clean, seeded(), progress).level
        torch.testing.assert_close(reported, torch.full((10,), level))
        expected = kind(level)(clean, seeded()).noisy
        torch.testing.assert_close(corruption(clean, seeded(), progress).noisy, expected)
    torch.testing.assert_close(corruption(clean, seeded()).level, torch.full((10,), 0.6))


def test_progress_reaches_what_a_corruption_is_made_of():
    growing, clean = Masking(Progressive(0.0, 1.0)), torch.ones(10, 4)
    for outer in (Compose(growing, Clean()), Compose(Clean(), growing), OneOf([growing])):
        assert not outer(clean, seeded(), 0.0).mask.any()
        assert outer(clean, seeded(), 1.0).mask.all()


@every_levelled
def test_at_sets_the_level_and_nothing_else(kind):
    assert kind(Uniform(0.1, 0.2)).at(0.75) == kind(0.75)
    assert kind(0.75).level == Fixed(0.75)
    assert kind(Uniform(0.1, 0.2)).level == Uniform(0.1, 0.2)
    with pytest.raises(ValueError, match=r"got -0\.25"):
        kind(0.5).at(-0.25)


@pytest.mark.parametrize(
    "corruption",
    [SaltAndPepper(0.3, -1.0, 2.0), GaussianMasking(0.3, 0.9), BlockMasking(0.3, 7)],
    ids=name,
)
def test_at_keeps_the_other_arguments(corruption):
    assert corruption.at(0.6) == replace(corruption, ratio=0.6)


@pytest.mark.parametrize("corruption", [Clean(), Compose(Masking(), Gaussian()), OneOf([Masking()])], ids=name)
def test_at_is_an_error_where_there_is_no_single_level(corruption):
    assert corruption.level is None
    with pytest.raises(ValueError, match=f"{name(corruption)} has no single level that could be set to 0.5"):
        corruption.at(0.5)


@every_levelled
@pytest.mark.parametrize(
    "level",
    [-0.1, nan, inf, -inf, Uniform(-0.1, 0.5), Progressive(0.5, -0.1)],
    ids=str,
)
def test_a_level_out_of_range_is_an_error(kind, level):
    with pytest.raises(ValueError, match=f"{name(kind)} {kind.level_name} must"):
        kind(level)


@every_ratio
@pytest.mark.parametrize("level", [1.001, Uniform(0.5, 1.5), Progressive(2.0, 0.0), Fixed(1.5)], ids=str)
def test_a_ratio_above_one_is_an_error(kind, level):
    with pytest.raises(ValueError, match=rf"{name(kind)} ratio must lie in \[0, 1\], got"):
        kind(level)


@every_levelled
@pytest.mark.parametrize("level", ["0.5", None, [0.5]], ids=repr)
def test_a_level_of_another_type_is_an_error_without_the_type_checks_of_these_tests_too(kind, level):
    corruption = object.__new__(kind)
    object.__setattr__(corruption, kind.level_name, level)
    with pytest.raises(ValueError, match=f"{kind.level_name} must be a number or a Level, got"):
        corruption.__post_init__()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianMasking(0.5, sigma=-1.0), "sigma must be finite and at least 0, got -1"),
        (lambda: GaussianMasking(0.5, sigma=nan), "sigma must be finite and at least 0, got nan"),
        (lambda: GaussianMasking(0.5, sigma=inf), "sigma must be finite and at least 0, got inf"),
        (lambda: SaltAndPepper(0.5, low=1.0, high=1.0), r"low < high, got low=1\.0 and high=1\.0"),
        (lambda: BlockMasking(0.5, size=0), "size must be at least 1, got 0"),
        (lambda: OneOf([]), "at least one corruption"),
    ],
)
def test_other_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_photons_have_the_mean_of_the_light_and_a_variance_of_the_gain_times_it():
    clean = torch.tensor([0.0, 0.02, 0.5, 1.0]).repeat(1000, 500)
    noisy, level, mask = Poisson(0.05)(clean, seeded())
    assert torch.equal(level, torch.full((1000,), 0.05)) and mask.all()
    torch.testing.assert_close(noisy / 0.05, (noisy / 0.05).round(), atol=1e-4, rtol=0)
    assert not noisy[clean == 0].any()
    for value in (0.02, 0.5, 1.0):
        draws = noisy[clean == value].double()
        assert_mean(draws, value, 0.05 * value)
        # the fourth central moment of a Poisson number n of mean m is m + 3 m^2
        rate = value / 0.05
        assert_mean((draws - value) ** 2, 0.05 * value, 0.05**4 * (rate + 3 * rate**2 - rate**2))


@pytest.mark.parametrize("gain", [1e-9, 1e-7, 1e-3])
def test_photons_of_any_gain_have_the_mean_of_the_light(gain):
    assert_mean(Poisson(gain)(torch.full((10, 1000), 0.5), seeded()).noisy, 0.5, gain * 0.5 + 1e-9)


def test_light_below_zero_is_none():
    assert torch.equal(Poisson(0.1)(torch.full((4, 5), -0.3), seeded()).noisy, torch.zeros(4, 5))


@pytest.mark.parametrize("corruption", [Poisson(0.1), Poisson(Uniform(0.0, 0.5)), Blur(Uniform(0.0, 2.0))], ids=name)
def test_a_samples_evaluation_noise_depends_on_no_other_sample(corruption):
    clean = torch.rand(20, 1, 8, 8, generator=seeded())
    whole = SampleNoise(0, "test", torch.arange(20))(corruption, clean)
    alone = SampleNoise(0, "test", torch.tensor([13]))(corruption, clean[13:14])
    assert torch.equal(whole.noisy[13], alone.noisy[0])


def test_speckle_is_gaussian_noise_relative_to_the_element():
    clean = torch.tensor([0.5, 2.0]).repeat(400, 500)
    noisy = Speckle(0.3)(clean, seeded()).noisy
    assert_standard_normal((noisy / clean - 1) / 0.3)


def test_blur_is_a_normalised_gaussian_and_leaves_constants_alone():
    point = torch.zeros(2, 1, 21, 21)
    point[:, :, 10, 10] = 1
    blurred = Blur(1.5)(point).noisy
    place = torch.arange(-5.0, 6.0)  # three standard deviations, rounded up
    bell = (-0.5 * (place / 1.5) ** 2).exp()
    expected = torch.outer(bell, bell) / bell.sum() ** 2
    torch.testing.assert_close(blurred[0, 0, 5:16, 5:16], expected, atol=1e-6, rtol=0)
    assert torch.count_nonzero(blurred[0]) == 121
    flat = torch.full((2, 3, 7, 9), 0.4)
    torch.testing.assert_close(Blur(3.0)(flat).noisy, flat)


def test_every_image_is_blurred_by_its_own_level():
    images = torch.rand(6, 3, 16, 16, generator=seeded())
    noisy, level, _ = Blur(Uniform(0.5, 2.0))(images, seeded(1))
    for row in range(6):
        alone = Blur(level[row].item())(images[row : row + 1]).noisy[0]
        torch.testing.assert_close(noisy[row], alone, atol=2e-3, rtol=0)  # whose kernel ends at its own 3 sigma


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_gets_worse_with_its_strength_and_is_of_8_bits(channels):
    coarse = torch.rand(2, channels, 4, 4, generator=seeded())
    images = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1)
    errors = [(JPEG(strength)(images).noisy - images).square().mean() for strength in (1, 0.9, 0.5, 0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 < errors[0]
    noisy, level, mask = JPEG(Uniform(0.1, 0.9))(images, seeded(1))
    assert mask.all()
    assert len(level.unique()) == 2
    torch.testing.assert_close(noisy * 255, (noisy * 255).round(), atol=1e-3, rtol=0)
    for row in range(2):
        assert torch.equal(noisy[row], JPEG(level[row].item())(images[row : row + 1]).noisy[0])
    torch.testing.assert_close(100 * level, (100 * level).round())


@pytest.mark.parametrize("corruption", [Blur(1.0), JPEG(0.7)], ids=name)
def test_corruptions_of_images_refuse_vectors(corruption):
    with pytest.raises(ValueError, match=rf"{name(corruption)} is for images .* got samples of shape \(12,\)"):
        corruption(torch.rand(4, 12))


def test_jpeg_wants_one_or_three_channels():
    with pytest.raises(ValueError, match="one or three channels, got 2"):
        JPEG(0.7)(torch.rand(1, 2, 8, 8))


@pytest.mark.parametrize("kind", ["Clean", "Gaussian", "Masking", "Poisson", "Blur", "JPEG"])
def test_whole_numbers_are_refused(kind, unchecked):
    with pytest.raises(ValueError, match=r"got torch.uint8: divide by 255"):
        getattr(unchecked(module), kind)()(torch.full((2, 1, 4, 4), 100, dtype=torch.uint8))


def test_masked_blocks_have_the_value():
    clean = torch.rand(4, 3, 8, 8)
    noisy, _, mask = BlockMasking(0.5, value=-1.0)(clean)
    assert mask.any() and (noisy[mask] == -1).all() and torch.equal(noisy[~mask], clean[~mask])
    with pytest.raises(ValueError, match="value must be finite, got inf"):
        BlockMasking(value=float("inf"))


@pytest.mark.parametrize("gain", [1e-40, 1e-20, 1e-10, 1e-8])
def test_light_of_very_many_photons_has_next_to_no_noise(gain):
    clean = torch.rand(4, 1, 8, 8)
    assert (Poisson(gain)(clean).noisy - clean).abs().max() < 1e-3


@pytest.mark.parametrize("count", [1, 3])
def test_scratches_are_as_wide_as_said_and_go_through_the_image(count):
    clean = torch.rand(500, 2, 40, 40, generator=seeded())
    noisy, level, mask = Scratches(2.5, count, -1.0)(clean, seeded(1))
    assert torch.equal(mask[:, 0], mask[:, 1]) and (noisy[mask] == -1).all() and torch.equal(noisy[~mask], clean[~mask])
    assert level.unique().tolist() == [2.5]
    assert mask.flatten(1).any(1).all()
    if count == 1:  # a line of 2.5 pixels, as long as a chord of the image, covers so much of it
        share = mask[:, 0].float().mean((1, 2))
        assert 1 / 40 < share.mean() < 2.5 * sqrt(2) / 40
    assert len({tuple(one.flatten().tolist()) for one in mask[:, 0]}) > 490
    assert not Scratches(0.0)(clean, seeded()).mask.any()
    one, again = (Scratches(Uniform(1.0, 6.0))(clean, seeded(3)).noisy for _ in range(2))
    assert torch.equal(one, again)


def test_scratches_are_of_images():
    with pytest.raises(ValueError, match=r"is for images \(batch, C, H, W\), got the shape \(4, 9\)"):
        Scratches()(torch.rand(4, 9))
    with pytest.raises(ValueError, match="count >= 1 and a finite value, got 0 and 0"):
        Scratches(count=0)


def table(rows: int, columns: int = 5) -> Tensor:
    """Values that tell their row and column: 10 row + column."""
    return 10.0 * torch.arange(rows)[:, None] + torch.arange(columns)


def test_swapped_values_are_those_of_the_same_column_of_another_row_each_equally_often():
    clean = table(5)
    swaps = torch.stack([SwapNoise(1.0)(clean, seeded(seed)).noisy for seed in range(2000)]).long()
    assert torch.equal(swaps % 10, torch.arange(5).expand_as(swaps))
    for row, other in product(range(5), range(5)):
        share = (swaps[:, row] // 10 == other).double()
        assert_mean(share, 0.25 * (row != other), 3 / 16)
    ratio = SwapNoise(0.3)(table(20_000), seeded()).mask
    assert_mean(ratio, 0.3, 0.21)


def test_a_bound_swap_takes_values_of_the_reservoir_and_a_samples_noise_depends_on_no_other_sample():
    reservoir = Reservoir(table(7) + 10_000)
    for corruption in (SwapNoise(0.5), Compose(SwapNoise(0.5), Clean()), OneOf([SwapNoise(0.5)])):
        bound, clean = corruption.bound(lambda: reservoir), table(130)
        noise = SampleNoise(0, "test", torch.arange(130))
        noisy, _, mask = noise(bound, clean)
        assert torch.equal(noisy >= 10_000, mask) and 0.4 < mask.double().mean() < 0.6
        assert torch.equal((noisy[mask] % 10).long(), torch.arange(5).expand(130, 5)[mask])
        alone = SampleNoise(0, "test", torch.tensor([77]))(bound, clean[77:78])
        assert torch.equal(alone.noisy[0], noisy[77])
    assert SwapNoise(0.5).bound(lambda: reservoir) == SwapNoise(0.5)


def test_elements_of_one_category_are_swapped_together():
    one_hot = torch.eye(3).repeat(100, 1)
    groups, rows = torch.tensor([0, 0, 0, 1]), torch.cat([one_hot, torch.arange(300.0)[:, None] + 2], 1)
    noisy, _, mask = SwapNoise(0.5).bound(lambda: Reservoir(rows, groups))(rows, seeded())
    assert torch.equal(noisy[:, :3].sum(1), torch.ones(300))
    assert torch.equal(mask[:, 0], mask[:, 2]) and not torch.equal(mask[:, 0], mask[:, 3])


def test_a_reservoir_has_observed_values_alone():
    rows = table(6)
    observed = torch.ones(6, 5, dtype=torch.bool)
    observed[[0, 3], 1] = observed[1:, 4] = False
    for groups in (None, torch.arange(5)):
        filled = Reservoir.of(rows.masked_fill(~observed, -1), observed, groups).rows
        assert torch.equal(filled[observed], rows[observed])
        assert torch.equal(filled[[0, 3], 1], rows[[1, 2], 1]) and torch.equal(filled[:, 4], rows[0, 4].expand(6))


def test_a_column_that_nobody_has_a_value_of_stays_empty():
    observed = torch.tensor([[True, False], [False, False]])
    rows = Reservoir.of(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), observed, None).rows
    assert rows.tolist() == [[1, 0], [1, 0]]
