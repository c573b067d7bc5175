import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from daezoo.data._variations import _turn, on_background, random_background, rotated, variation
from small_sets import angles_of, dots, noise


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(count: int) -> Tensor:
    """Images without any symmetry, bright up to their edges."""
    return torch.from_numpy(noise(count * 28, 28)).view(count, 1, 28, 28)


def no_backgrounds(count: int, draw: torch.Generator) -> Tensor:
    raise AssertionError("This problem needs no photographs.")


def test_rotated_images_have_the_promised_form_and_the_given_ones_stay():
    images = noisy(7)
    turned, angles = rotated(images, seeded(0))
    assert (turned.shape, turned.dtype) == (images.shape, torch.uint8)
    assert (angles.shape, angles.dtype) == ((7,), torch.float64)
    assert torch.equal(images, noisy(7))


def test_angles_are_uniform_over_the_circle():
    _, angles = rotated(torch.zeros(5000, 1, 28, 28, dtype=torch.uint8), seeded(0))
    assert stats.kstest(angles / (2 * math.pi), "uniform").pvalue > 0.01


def test_dots_are_seen_at_the_returned_angles():
    turned, angles = rotated(torch.from_numpy(dots([200] * 2000)).unsqueeze(1), seeded(0))
    seen = angles_of(turned)
    assert (torch.remainder(seen - angles + 1, 2 * math.pi) - 1).abs().max() < 0.01
    assert stats.kstest(seen / (2 * math.pi), "uniform").pvalue > 0.01


def test_each_image_is_turned_by_its_angle_as_scipy_turns_it():
    images = noisy(30)
    turned, angles = rotated(images, seeded(0))
    for image, other, angle in zip(images, turned, angles.tolist(), strict=True):
        expected = ndimage.rotate(
            image[0].double().numpy(), math.degrees(angle), reshape=False, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(other[0].numpy(), expected, rtol=0, atol=0.51)  # half a grey level of rounding


@pytest.mark.parametrize("quarters", range(4))
def test_quarter_turns_are_exact_and_counter_clockwise(quarters):
    images = noisy(5)
    turned = _turn(images, torch.full((5,), quarters * math.pi / 2))
    assert torch.equal(turned, torch.rot90(images, quarters, (2, 3)))


def test_what_turns_in_is_black_and_what_turns_out_is_lost():
    turned = _turn(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), torch.tensor([math.pi / 4]))[0, 0]
    row, column = torch.meshgrid(*[torch.arange(28) - 13.5] * 2, indexing="ij")
    beyond = row.abs() + column.abs() - 14 * math.sqrt(2)  # the turned square, in pixels from its edge
    assert (turned[beyond > math.sqrt(2)] == 0).all()
    assert (turned[beyond < -math.sqrt(2)] == 255).all()


def test_how_many_images_are_turned_at_once_does_not_matter(monkeypatch):
    usual = rotated(noisy(7), seeded(0))
    monkeypatch.setattr("daezoo.data._variations.AT_ONCE", 3)
    few = rotated(noisy(7), seeded(0))
    assert torch.equal(usual[0], few[0])
    assert torch.equal(usual[1], few[1])


def test_background_is_uniform_in_0_to_255():
    background = random_background(torch.empty(300, 1, 28, 28), seeded(0))
    assert (background.shape, background.dtype) == ((300, 1, 28, 28), torch.uint8)
    assert stats.chisquare(background.flatten().bincount(minlength=256)).pvalue > 0.01


def test_pixels_of_a_background_are_independent():
    background = random_background(torch.empty(300, 1, 28, 28), seeded(0)).double()
    pairs = {
        "right": (background[..., :-1], background[..., 1:]),
        "below": (background[..., :-1, :], background[..., 1:, :]),
        "next image": (background[:-1], background[1:]),
    }
    for first, second in pairs.values():
        correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
        assert correlation.abs() < 4 / math.sqrt(first.numel())


def test_the_brighter_of_digit_and_background_is_seen():
    digit, background = torch.tensor([[0, 200, 90, 255]]).byte(), torch.tensor([[30, 100, 91, 0]]).byte()
    assert on_background(digit, background).tolist() == [[30, 200, 91, 255]]


@pytest.mark.parametrize("kind", ["basic", "rot", "bg-rand"])
def test_problems_without_photographs_are_made_of_their_parts(kind):
    images = torch.from_numpy(dots(range(100, 110))).unsqueeze(1)
    draw = seeded(0)
    expected = {
        "basic": lambda: images,
        "rot": lambda: rotated(images, draw)[0],
        "bg-rand": lambda: torch.maximum(images, random_background(images, draw)),
    }[kind]()
    given = images.clone()
    assert torch.equal(variation(kind, images, seeded(0), no_backgrounds), expected)
    assert torch.equal(images, given)


@pytest.mark.parametrize("kind", ["bg-img", "rot-bg-img"])
def test_problems_with_photographs_have_a_patch_behind_each_digit(kind):
    images = torch.from_numpy(dots(range(100, 110))).unsqueeze(1)
    patches = noisy(10) // 4
    asked = []

    def backgrounds(count: int, draw: torch.Generator) -> Tensor:
        asked.append(count)
        return patches

    found = variation(kind, images, seeded(0), backgrounds)
    digits = rotated(images, seeded(0))[0] if kind == "rot-bg-img" else images
    assert asked == [10]
    assert torch.equal(found, torch.maximum(digits, patches))


@pytest.mark.parametrize("kind", ["rot", "bg-rand", "bg-img", "rot-bg-img"])
def test_a_seed_determines_everything_and_the_global_generator_is_left_alone(kind):
    def made(seed: int) -> Tensor:
        return variation(kind, images, seeded(seed), lambda count, draw: random_background(images[:count], draw))

    images = torch.from_numpy(dots([200] * 10)).unsqueeze(1)
    before = torch.get_rng_state()
    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))
    assert torch.equal(torch.get_rng_state(), before)
