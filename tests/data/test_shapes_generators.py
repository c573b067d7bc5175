from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial import ConvexHull
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from daezoo.data._shapes import _intersections, _midpoint_gaps, convex_sets, rectangles, rectangles_on_patches
from daezoo.data.pictures import random_patches
from small_sets import found_in, noise

GENERATORS = pytest.mark.parametrize("generate", [rectangles, convex_sets])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def outlines() -> tuple[Tensor, Tensor]:
    images, labels = rectangles(8000, seeded(0))
    return images[:, 0] > 0, labels


def plain_patches(count: int, side: int, draw: torch.Generator) -> Tensor:
    """White ones for the rectangles, black ones for what is behind them."""
    patches = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    patches[: count // 2] = 255
    return patches


@pytest.fixture(scope="module")
def filled() -> tuple[Tensor, Tensor]:
    images, labels = rectangles_on_patches(8000, seeded(0), plain_patches)
    return images[:, 0] > 0, labels


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    images, labels = convex_sets(8000, seeded(0))
    return images[:, 0] > 0, labels


def heights_and_widths(white: Tensor) -> tuple[Tensor, Tensor]:
    def extent(lines: Tensor) -> Tensor:
        return 28 - lines.int().argmax(1) - lines.flip(1).int().argmax(1)

    return extent(white.any(2)), extent(white.any(1))


def black_pixels_in_hull(white: Tensor) -> int:
    # No tolerance is needed for rasterisation: a pixel is its centre, and the hull is that of the white centres.
    faces = ConvexHull(white.nonzero().numpy()).equations
    black = (~white).nonzero().numpy()
    return int((black @ faces[:, :2].T + faces[:, 2] <= 1e-9).all(1).sum())


@GENERATORS
def test_images_and_labels_have_the_promised_form(generate):
    images, labels = generate(7, seeded(0))
    assert images.shape == (7, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert set(images.unique().tolist()) == {0, 255}
    assert labels.shape == (7,)
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == {0, 1}


@GENERATORS
@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_one_is_an_error(generate, count):
    with pytest.raises(ValueError, match=f"at least 1, got {count}"):
        generate(count, seeded(0))


@GENERATORS
def test_a_seed_determines_everything_and_the_global_generator_is_left_alone(generate):
    before = torch.get_rng_state()
    (images, labels), (same_images, same_labels) = (generate(50, seeded(3)) for _ in range(2))
    assert torch.equal(images, same_images)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, generate(50, seeded(4))[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_rectangle_outline_is_closed_and_one_pixel_wide(outlines):
    white, _ = outlines
    padded = torch.nn.functional.pad(white.int(), (1, 1, 1, 1))
    neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    assert (neighbours[white] == 2).all()
    heights, widths = heights_and_widths(white)
    assert torch.equal(white.sum((1, 2)), 2 * (heights + widths) - 4)


def test_rectangle_sides_are_allowed_and_agree_with_the_label(outlines):
    white, labels = outlines
    heights, widths = heights_and_widths(white)
    assert (heights - widths).abs().min() == 3
    assert torch.equal(labels, (widths > heights).long())
    for sides in (heights, widths):
        assert (sides.min(), sides.max()) == (3, 28)


def test_rectangle_classes_are_balanced(outlines):
    assert outlines[1].float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_every_pixel_is_white_in_some_rectangle(outlines):
    assert outlines[0].any(0).all()


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_of_rectangles_on_patches_below_one_is_an_error(count):
    with pytest.raises(ValueError, match=f"at least 1, got {count}"):
        rectangles_on_patches(count, seeded(0), plain_patches)


def test_rectangles_on_patches_are_filled(filled):
    white, _ = filled
    heights, widths = heights_and_widths(white)
    assert torch.equal(white.sum((1, 2)), heights * widths)


def test_sides_and_areas_of_rectangles_on_patches_are_allowed_and_agree_with_the_label(filled):
    white, labels = filled
    heights, widths = heights_and_widths(white)
    assert torch.equal(labels, (widths > heights).long())
    assert (heights - widths).abs().min() == 5
    for sides in (heights, widths):
        assert (sides.min(), sides.max()) == (10, 28)
    areas = white.double().mean((1, 2))
    assert 0.25 <= areas.min() < 0.27
    assert 0.73 < areas.max() <= 0.75


def test_classes_of_rectangles_on_patches_are_balanced_and_equal_in_area(filled):
    white, labels = filled
    assert labels.double().mean().item() == pytest.approx(0.5, abs=0.02)
    areas = white.flatten(1).double().mean(1)
    assert stats.ks_2samp(areas[labels == 1], areas[labels == 0]).pvalue > 0.01


def test_allowed_sizes_of_rectangles_on_patches_are_equally_likely(filled):
    heights, widths = heights_and_widths(filled[0])
    allowed = [
        (height, width)
        for height in range(10, 29)
        for width in range(10, 29)
        if abs(height - width) >= 5 and 196 <= height * width <= 588
    ]
    found = (heights * 29 + widths).bincount(minlength=29 * 29)
    counts = torch.stack([found[height * 29 + width] for height, width in allowed])
    assert counts.sum() == 8000
    assert stats.chisquare(counts).pvalue > 0.01


def test_positions_of_rectangles_on_patches_are_equally_likely(filled):
    white, _ = filled
    for lines, extent in zip((white.any(2), white.any(1)), heights_and_widths(white), strict=True):
        first = lines.int().argmax(1)
        counts, expected = [], []
        for side in range(10, 28):  # one of 28 fits at one position alone
            of_side = first[extent == side]
            counts.append(of_side.bincount(minlength=29 - side))
            expected.append(torch.full((29 - side,), len(of_side) / (29 - side), dtype=torch.float64))
        statistic = ((torch.cat(counts) - torch.cat(expected)).square() / torch.cat(expected)).sum().item()
        assert stats.chi2.sf(statistic, len(torch.cat(counts)) - len(counts)) > 0.01


def test_rectangle_and_background_are_patches_of_the_photographs():
    pictures = [torch.from_numpy(noise(*size, seed)).unsqueeze(0) for seed, size in enumerate([(30, 44), (40, 31)])]
    white, _ = rectangles_on_patches(100, seeded(0), plain_patches)
    images, _ = rectangles_on_patches(100, seeded(0), partial(random_patches, pictures))
    assert (images.shape, images.dtype) == ((100, 1, 28, 28), torch.uint8)
    shown = [[found_in(images, picture, part) for picture in pictures] for part in (white > 0, white == 0)]
    for first, second in shown:
        assert (first ^ second).all()
    assert 0.3 < (shown[0][0] == shown[1][0]).double().mean() < 0.7  # drawn independently
    assert torch.stack([found_in(images, picture) for picture in pictures]).sum() < 5  # both patches the same one


def test_a_seed_determines_rectangles_on_patches_and_the_global_generator_is_left_alone():
    patches = partial(random_patches, [torch.from_numpy(noise(40, 50)).unsqueeze(0)])
    before = torch.get_rng_state()
    (images, labels), (same_images, same_labels) = (rectangles_on_patches(50, seeded(3), patches) for _ in range(2))
    assert torch.equal(images, same_images)
    assert torch.equal(labels, same_labels)
    assert not torch.equal(images, rectangles_on_patches(50, seeded(4), patches)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_convex_set_classes_are_balanced_and_shuffled(sets):
    labels = sets[1].float()
    assert labels.mean() == 0.5
    assert labels[:4000].mean().item() == pytest.approx(0.5, abs=0.03)
    assert (labels[1:] == labels[:-1]).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_single_convex_set_image_can_be_drawn():
    images, labels = convex_sets(1, seeded(0))
    assert (len(images), len(labels)) == (1, 1)


def test_no_set_labelled_convex_has_a_black_pixel_in_its_hull(sets):
    white, labels = sets
    assert [black_pixels_in_hull(image) for image in white[labels == 1][:500]] == [0] * 500


def test_every_set_labelled_not_convex_has_four_black_pixels_in_its_hull(sets):
    white, labels = sets
    assert min(black_pixels_in_hull(image) for image in white[labels == 0][:500]) >= 4


def test_midpoint_test_never_flags_a_convex_set():
    assert not _midpoint_gaps(_intersections(4000, 0.195, 10, seeded(0))).any()


def test_midpoint_test_finds_a_notch_a_hole_and_the_gap_between_two_dots():
    white = torch.zeros(3, 28, 28, dtype=torch.bool)
    white[0, 10:13, 10:13] = True
    white[0, 10, 11] = False
    white[1, 5:20, 5:20] = True
    white[1, 12, 12] = False
    white[2, 0, 0] = white[2, 26, 26] = True
    assert _midpoint_gaps(white).nonzero().tolist() == [[0, 10, 11], [1, 12, 12], [2, 13, 13]]


def test_convex_sets_have_enough_white_pixels(sets):
    # 19 by the recipe; sets that are not convex inherit it by the matching of areas.
    assert sets[0].sum((1, 2)).min() >= 19


def test_both_classes_of_convex_sets_have_the_same_areas(sets):
    white, labels = sets
    areas = white.sum((1, 2))
    assert torch.equal(areas[labels == 1].sort().values, areas[labels == 0].sort().values)


def test_area_alone_does_not_tell_convex_from_not_convex(sets):
    def features(white: Tensor) -> np.ndarray:
        area = white.flatten(1).double().mean(1)
        return torch.stack([area, area**2], dim=1).numpy()

    white, labels = sets
    other_images, other_labels = convex_sets(8000, seeded(1))
    # A part of one dataset to learn from, so that its areas are not matched exactly; another dataset to measure on.
    probe = LogisticRegression(C=1e4, max_iter=1000).fit(features(white[:3000]), labels[:3000].numpy())
    assert probe.score(features(other_images[:, 0] > 0), other_labels.numpy()) == pytest.approx(0.5, abs=0.02)
    assert probe.score(features(white[3000:]), labels[3000:].numpy()) == pytest.approx(0.5, abs=0.03)
