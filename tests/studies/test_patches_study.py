import math

import pytest
import torch
from PIL import Image

from conftest import CONFIGS
from daezoo.figures import strongest
from daezoo.studies.cells import rows_of
from daezoo.studies.patches import orientedness, panels


def grating(angle: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    return torch.sin(0.9 * (math.cos(angle) * x + math.sin(angle) * y))[None, None]


@pytest.mark.parametrize("angle", [0, 0.4, math.pi / 2, 2.1])
def test_a_grating_is_oriented_at_any_angle(angle):
    assert orientedness(grating(angle)).item() > 0.9


def test_blobs_and_flat_filters_are_not_oriented():
    y, x = torch.meshgrid(torch.arange(12.0) - 5.5, torch.arange(12.0) - 5.5, indexing="ij")
    blob = torch.exp(-(x**2 + y**2) / 8)[None, None]
    assert orientedness(blob).item() < 1e-6
    assert orientedness(torch.ones(1, 1, 12, 12)).item() == 0


def test_orientedness_does_not_depend_on_the_scale_of_a_filter():
    filters = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(orientedness(filters), orientedness(1e-3 * filters))


def test_the_strongest_filters_come_first():
    filters = torch.tensor([1.0, 3.0, 2.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    assert strongest(filters, 2)[:, 0, 0, 0].tolist() == [3, 2]


def test_panels_have_one_picture_for_each_noise():
    figure = panels({name: torch.randn(7, 1, 12, 12) for name in "abcd"})
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 1, 0, 0]


@pytest.mark.slow
def test_one_command_trains_all_and_draws_them_and_once_only(daezoo_command, workplace):
    (workplace / "photos").mkdir()
    noise = torch.randint(256, (64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(workplace / "photos" / "one.png")
    args = ["reproduce", "patches", "--configs", str(CONFIGS), "--hidden", "8", "--epochs", "1"]
    args += ["--photographs", "photos"]
    status, out, err = daezoo_command(*args)
    assert status == 0, err
    assert "docs/images/patches.png" in out
    rows = rows_of(workplace / "docs/studies/patches.csv")
    assert len({row["noise"] for row in rows}) == len(rows) == 6
    assert all(0 < float(row["orientedness"]) < 1 for row in rows)
    assert "| Gaussian 0.5 |" in (workplace / "docs/results.md").read_text()
    (workplace / "docs/images/patches.png").unlink()
    status, out, err = daezoo_command(*args)
    assert status == 0, err
    assert "Training" not in out
    assert (workplace / "docs/images/patches.png").is_file()
    assert len(rows_of(workplace / "docs/studies/patches.csv")) == 6
