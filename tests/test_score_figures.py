"""Pictures of what a denoiser does, by the numbers that their axes hold."""

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from conftest import build
from daezoo.densities import Gaussian, circle, swiss_roll
from daezoo.score_figures import denoising_direction, paths, reconstructed, vector_field

NORMAL = Gaussian([1.0, -1.0], [[0.5, 0.2], [0.2, 0.3]])


def arrows(figure: Figure) -> list[Quiver]:
    """The arrows of each panel; drawing the figure raises no warning."""
    figure.canvas.draw()
    return [one for axis in figure.axes for one in axis.collections if isinstance(one, Quiver)]


def test_arrows_are_those_of_the_denoiser_beside_those_of_the_score():
    found, truth = arrows(vector_field(lambda noisy, sigma: noisy * 0.5 + sigma, NORMAL, 0.3))
    places = torch.tensor(np.stack([found.X, found.Y], 1))
    assert np.array_equal(found.XY, truth.XY)
    assert np.allclose(np.stack([found.U, found.V], 1), 0.3 - 0.5 * places, atol=1e-6)
    assert np.allclose(np.stack([truth.U, truth.V], 1), 0.3**2 * NORMAL.score(places, 0.3), atol=1e-6)
    assert (found.scale, found.scale_units, found.angles) == (truth.scale, truth.scale_units, truth.angles)
    assert (found.scale, found.scale_units, found.angles) == (2, "xy", "xy")


def test_arrows_of_the_best_denoiser_are_the_true_ones_and_start_where_noisy_points_are():
    density = circle()
    figure = vector_field(density.posterior_mean, density, 0.1, across=15, length=1)
    found, truth = arrows(figure)
    assert np.allclose(found.U, truth.U, atol=1e-6) and np.allclose(found.V, truth.V, atol=1e-6)
    assert 0 < len(found.U) < 15**2
    distance = np.abs(np.hypot(found.X, found.Y) - 1)
    assert distance.max() < 0.45
    assert "drawn at" not in figure.get_suptitle()


def test_the_density_lies_behind_its_own_arrows():
    figure = vector_field(NORMAL.posterior_mean, NORMAL, 0.3)
    (image,) = figure.axes[0].images
    left, right, bottom, top = image.get_extent()
    shown = np.asarray(image.get_array())
    for share in ((0.3, 0.5), (0.5, 0.5), (0.55, 0.62)):  # x and y, of the picture
        row, column = round(share[1] * (len(shown) - 1)), round(share[0] * (len(shown) - 1))
        x = left + (right - left) * column / (len(shown) - 1)
        y = bottom + (top - bottom) * row / (len(shown) - 1)
        highest = NORMAL.log_prob(torch.tensor([[1.0, -1.0]]), 0.3)
        assert shown[row, column] == pytest.approx((NORMAL.log_prob(torch.tensor([[x, y]]), 0.3) - highest).exp(), 0.02)


@pytest.mark.parametrize(("density", "sigma"), [(swiss_roll(places=9, rows=2), 0.1), (NORMAL, 0.0)])
def test_arrows_need_a_plane_and_noise(density, sigma):
    with pytest.raises(ValueError, match="Arrows need a density of the plane and σ > 0"):
        vector_field(density.posterior_mean, density, sigma)


def test_paths_go_from_the_starts_through_every_reconstruction():
    starts, levels = torch.tensor([[0.5, 0.0], [0.0, 2.0], [-1.0, -1.0]]), [0.4, 0.2, 0.05]
    density = circle()
    places = reconstructed(density.posterior_mean, starts, levels)
    assert places.shape == (4, 3, 2) and places.dtype == starts.dtype
    assert torch.equal(places[0], starts)
    assert torch.allclose(places[2], density.posterior_mean(places[1], 0.2).float())
    figure = paths(density.posterior_mean, starts, levels, density)
    figure.canvas.draw()
    (axis,) = figure.axes
    drawn = np.stack([line.get_xydata() for line in axis.lines], 1)
    assert np.allclose(drawn, places)
    clean, first, last = (one.get_offsets() for one in axis.collections if isinstance(one, PathCollection))
    assert np.allclose(np.linalg.norm(clean, axis=1), 1, atol=1e-5)
    assert np.allclose(first, starts) and np.allclose(last, places[-1])
    assert np.allclose(np.linalg.norm(last, axis=1), 1, atol=0.01)


@pytest.mark.parametrize(
    ("starts", "levels"), [(torch.zeros(3, 3), [0.1]), (torch.zeros(2), [0.1]), (torch.zeros(3, 2), [])]
)
def test_paths_need_points_of_the_plane_and_levels(starts, levels):
    with pytest.raises(ValueError, match="Paths need points of the plane"):
        paths(lambda noisy, sigma: noisy, starts, levels)


def test_two_pictures_share_a_figure():
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert vector_field(NORMAL.posterior_mean, NORMAL, 0.3, on=left) is figure
    assert paths(NORMAL.posterior_mean, torch.zeros(2, 2), [0.3], on=right) is figure
    figure.canvas.draw()
    assert (len(left.axes), len(right.axes), len(figure.axes)) == (2, 1, 3)


def noisy_images(channels: int = 1):
    model, data = build("vanilla")
    data.setup()
    batch = data.evaluation_batch(data.splits["test"].__getitems__(torch.arange(4)), "test")
    if channels == 3:
        model, _ = build("vanilla", shape=[3, 8, 8])
        batch = batch._replace(**{name: getattr(batch, name).repeat(1, 3, 1, 1) for name in ("clean", "noisy", "mask")})
    return model.eval(), batch


@pytest.mark.parametrize("channels", [1, 3])
def test_a_direction_is_the_reconstruction_less_the_noisy_image(channels):
    model, batch = noisy_images(channels)
    figure = denoising_direction(model, batch, columns=3)
    figure.canvas.draw()
    *rows, scale = figure.axes
    with torch.inference_mode():
        denoised = model.denoise(batch.noisy, batch.level)
    direction = (denoised - batch.noisy).mean(1)
    expected = [batch.clean, batch.noisy.clamp(0, 1), direction[:, None], denoised]
    assert [axis.get_ylabel() for axis in rows] == ["clean", "noisy x̃", "r(x̃) − x̃", "denoised r(x̃)"]
    for axis, images in zip(rows, expected, strict=True):
        shown = np.asarray(axis.images[0].get_array())
        assert shown.shape[:2] == (8, 3 * 9 - 1)
        for number, image in enumerate(images[:3]):
            part = shown[:, 9 * number : 9 * number + 8]
            wanted = image.permute(1, 2, 0) if shown.ndim == 3 else image.mean(0)
            assert np.allclose(part, wanted, atol=1e-5)
    low, high = rows[2].images[0].get_clim()
    assert high == -low == pytest.approx(direction[:3].abs().max().item(), rel=1e-5)
    assert scale.get_ylim() == (low, high)
    assert [axis.images[0].get_clim() for axis in (rows[0], rows[1], rows[3])] == [(0, 1)] * 3


def test_directions_are_of_images():
    model, batch = noisy_images()
    flat = batch._replace(clean=batch.clean.flatten(1), noisy=batch.noisy.flatten(1))
    with pytest.raises(ValueError, match=r"Directions are drawn of images \(batch, C, H, W\), got \(4, 64\)"):
        denoising_direction(model, flat)
