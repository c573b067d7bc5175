from itertools import permutations
from math import nan, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from daezoo.augmentation import Binarise, ColorJitter, Crop, Flip, ShuffleChannels, Turn

AUGMENTATIONS = [Crop(2), Flip(0.5), Turn(), ColorJitter(0.9, 0.9, 0.9), ShuffleChannels(), Binarise()]
every_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda kind: type(kind).__name__)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_augmentation
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**63 - 1),
)
def test_laws_of_every_augmentation(augmentation, shape, dtype, seed):
    clean = torch.rand(shape, generator=seeded(1), dtype=dtype)
    before, global_state = clean.clone(), torch.get_rng_state()

    augmented = augmentation(clean, seeded(seed))

    assert (augmented.shape, augmented.dtype) == (clean.shape, dtype)
    assert 0 <= augmented.min() <= augmented.max() <= 1
    assert torch.equal(clean, before)
    assert torch.equal(augmented, augmentation(clean, seeded(seed)))
    assert torch.equal(torch.get_rng_state(), global_state)


@every_augmentation
def test_every_sample_draws_its_own_parameters(augmentation):
    image = torch.rand(1, 3, 6, 6, generator=seeded())
    augmented = augmentation(image.expand(50, -1, -1, -1), seeded(1))
    different = len(augmented.flatten(1).unique(dim=0))
    expected = {Flip: 2, Turn: 8, ShuffleChannels: 6}.get(type(augmentation))
    assert different == expected if expected else different > 15
    assert not torch.equal(augmented, augmentation(image.expand(50, -1, -1, -1), seeded(2)))


def test_crop_only_shifts_and_makes_every_shift_equally_often():
    image = torch.rand(1, 3, 5, 8, generator=seeded()) + 0.01
    augmented = Crop(2)(image.expand(5000, -1, -1, -1), seeded(1))
    padded = F.pad(image, (2, 2, 2, 2))[0]
    shifted = torch.stack([padded[:, top : top + 5, left : left + 8] for top in range(5) for left in range(5)])
    counts = torch.stack([(augmented == shift).flatten(1).all(1).sum() for shift in shifted])
    assert counts.sum() == 5000
    # Each of 25 shifts comes 200 times, standard error √(5000 · 0.04 · 0.96) = 13.9; five of them are 69.
    assert (counts - 200).abs().max() < 69


def test_flip_mirrors_left_to_right_with_its_probability():
    image = torch.rand(4000, 3, 4, 5, generator=seeded())
    assert torch.equal(Flip(0.0)(image, seeded(1)), image)
    assert torch.equal(Flip(1.0)(image, seeded(1)), image.flip(3))
    half = Flip(0.3)(image, seeded(1))
    flipped = (half == image.flip(3)).flatten(1).all(1)
    assert torch.equal(half[~flipped], image[~flipped])
    assert abs(flipped.double().mean().item() - 0.3) < 5 * sqrt(0.3 * 0.7 / 4000)


def test_color_jitter_of_no_strength_is_the_identity():
    image = torch.rand(20, 3, 4, 5, generator=seeded())
    torch.testing.assert_close(ColorJitter(0.0, 0.0, 0.0)(image, seeded(1)), image)


@pytest.mark.parametrize(
    ("jitter", "kept_dims"),
    [
        (ColorJitter(0.4, 0.0, 0.0), None),
        (ColorJitter(0.0, 0.4, 0.0), (1, 2, 3)),
        (ColorJitter(0.0, 0.0, 0.4), (1,)),
    ],
    ids=["brightness", "contrast", "saturation"],
)
def test_color_jitter_scales_the_distance_from_black_the_mean_or_grey_by_one_factor_per_image(jitter, kept_dims):
    # Between 0.3 and 0.6 nothing is clipped at strength 0.4.
    image = 0.3 + 0.3 * torch.rand(2000, 3, 4, 5, generator=seeded(), dtype=torch.float64)
    pivot = torch.zeros_like(image) if kept_dims is None else image.mean(kept_dims, keepdim=True).expand_as(image)
    augmented = jitter(image, seeded(1))
    distance = (image - pivot).flatten(1)
    factor = ((augmented - pivot).flatten(1) * distance).sum(1) / distance.square().sum(1)
    torch.testing.assert_close(augmented, pivot + (image - pivot) * factor.view(-1, 1, 1, 1))
    assert 0.6 - 1e-6 <= factor.min() < 0.61
    assert 1.39 < factor.max() <= 1.4 + 1e-6
    # U(0.6, 1.4) has mean 1 and deviation 0.8/√12; the bound is 5 standard errors.
    assert abs(factor.mean().item() - 1) < 5 * 0.8 / sqrt(12 * 2000)


def test_saturation_does_nothing_to_images_of_one_channel():
    image = torch.rand(20, 1, 4, 5, generator=seeded())
    torch.testing.assert_close(ColorJitter(0.0, 0.0, 1.0)(image, seeded(1)), image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(0), "padding must be at least 1, got 0"),
        (lambda: Flip(-0.1), r"probability must lie in \[0, 1\], got -0\.1"),
        (lambda: Flip(1.1), r"probability must lie in \[0, 1\], got 1\.1"),
        (lambda: Flip(nan), r"probability must lie in \[0, 1\], got nan"),
        *(
            (lambda name=name, value=value: ColorJitter(**{name: value}), rf"{name} must lie in \[0, 1\], got {value}")
            for name in ("brightness", "contrast", "saturation")
            for value in (-0.1, 1.1, nan)
        ),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_turn_makes_each_symmetry_of_the_square_equally_often():
    image = torch.rand(1, 3, 5, 5, generator=seeded())
    turned = Turn()(image.expand(4000, -1, -1, -1), seeded(1))
    symmetries = torch.cat([torch.rot90(one, k, (2, 3)) for one in (image, image.flip(3)) for k in range(4)])
    counts = torch.stack([(turned == one).flatten(1).all(1).sum() for one in symmetries])
    assert counts.sum() == 4000
    assert (counts - 500).abs().max() < 105  # five standard errors of √(4000 · 1/8 · 7/8)


def test_turn_keeps_the_shape_of_images_that_are_not_square():
    image = torch.rand(1, 1, 2, 3, generator=seeded())
    turned = Turn()(image.expand(100, -1, -1, -1), seeded(1)).unique(dim=0)
    wanted = torch.cat([image, image.flip(3), image.flip(2), image.flip(2, 3)]).unique(dim=0)
    assert torch.equal(turned, wanted)


def test_shuffle_channels_makes_each_order_equally_often():
    image = torch.rand(1, 3, 2, 3, generator=seeded())
    shuffled = ShuffleChannels()(image.expand(6000, -1, -1, -1), seeded(1))
    orders = torch.cat([image[:, list(order)] for order in permutations(range(3))])
    counts = torch.stack([(shuffled == one).flatten(1).all(1).sum() for one in orders])
    assert counts.sum() == 6000
    assert (counts - 1000).abs().max() < 145  # five standard errors of √(6000 · 1/6 · 5/6)


def test_binarised_elements_are_one_as_often_as_their_value_says():
    clean = torch.linspace(0, 1, 6).view(1, 1, 1, 6).expand(5000, -1, -1, -1)
    drawn = Binarise()(clean, seeded())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn.mean((0, 1, 2)) - torch.linspace(0, 1, 6)).abs().max() < 0.03
