import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.datasets import load_sample_images
from torch import Tensor

from daezoo.data.location import DataMissing
from daezoo.data.pictures import LEAST_DEVIATION, PHOTOGRAPHS, photographs, random_patches
from small_sets import folder_of, found_in, noise

SIZES = [(12, 15), (40, 60), (90, 11)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded() -> list[Tensor]:
    """Pictures whose colours say where a pixel is from, (row, column, picture)."""
    places = [torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij")) for size in SIZES]
    return [torch.cat([p, torch.full_like(p[:1], number)]).byte() for number, p in enumerate(places)]


def grey(*pictures: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(picture).unsqueeze(0) for picture in pictures]


def halves() -> list[Tensor]:
    """A picture whose left half is grey and whose right half is not: few patches lie on the border."""
    picture = noise(60, 200)
    picture[:, :100] = 128
    return grey(picture)


def test_twelve_photographs_ship_with_the_dependencies():
    pictures = photographs(None, 28)
    assert len(pictures) == sum(map(len, PHOTOGRAPHS.values())) == 12
    for picture in pictures:
        assert picture.dtype == torch.uint8
        assert len(picture) == 1
        assert min(picture.shape[1:]) >= 300
        assert picture.float().std() > LEAST_DEVIATION
    assert len({tuple(picture.flatten()[:5000].tolist()) for picture in pictures}) == 12
    china = Image.fromarray(load_sample_images().images[0]).convert("L")
    assert torch.equal(pictures[0][0], torch.from_numpy(np.array(china)))


def test_photographs_of_a_folder_are_grey_and_in_the_order_of_their_names(tmp_path):
    colours = np.stack([noise(30, 40, seed) for seed in range(3)], 2)
    found = photographs(str(folder_of(tmp_path, noise(28, 50), colours)), 28)
    assert torch.equal(found[0], grey(noise(28, 50))[0])
    assert torch.equal(found[1], grey(np.array(Image.fromarray(colours).convert("L")))[0])
    assert len(found) == 2


def test_photographs_are_found_through_daezoo_data(tmp_path, monkeypatch):
    folder_of(tmp_path / "photographs", noise(28, 28))
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    assert torch.equal(photographs("$DAEZOO_DATA/photographs", 28)[0], grey(noise(28, 28))[0])


def test_photographs_that_are_missing_or_too_small_are_named(tmp_path):
    with pytest.raises(DataMissing, match=r"There is no folder .*gone"):
        photographs(str(tmp_path / "gone"), 28)
    with pytest.raises(ValueError, match=r"picture00\.png is 50x27, smaller than a crop of 28"):
        photographs(str(folder_of(tmp_path, noise(27, 50))), 28)


def test_patches_are_exact_parts_of_the_pictures_as_many_as_wanted():
    pictures = grey(noise(40, 50, 0), noise(30, 30, 1))
    patches = random_patches(pictures, 51, 9, seeded(0))
    assert (patches.shape, patches.dtype) == ((51, 1, 9, 9), torch.uint8)
    first, second = (found_in(patches, picture) for picture in pictures)
    assert (first ^ second).all()
    assert 0 < first.sum() < 51


def test_pictures_of_any_size_are_equally_likely():
    patches = random_patches(coded(), 6000, 8, seeded(0), least=0.0)
    assert stats.chisquare(patches[:, 2, 0, 0].long().bincount(minlength=3)).pvalue > 0.01


@pytest.mark.parametrize("number", [0, 2])
def test_places_in_a_picture_are_equally_likely(number):
    height, width = SIZES[number]
    patches = random_patches(coded(), 12_000, 8, seeded(0), least=0.0)
    row, column, _ = patches[patches[:, 2, 0, 0] == number][:, :, 0, 0].long().unbind(1)
    counts = (row * (width - 7) + column).bincount(minlength=(height - 7) * (width - 7))
    assert len(counts) == (height - 7) * (width - 7)
    assert counts.min() > 0
    assert stats.chisquare(counts).pvalue > 0.01


def test_channels_and_values_of_floating_point_stay_together():
    pictures = [picture / 100 - 0.5 for picture in coded()]
    patches = random_patches(pictures, 20, 8, seeded(0), least=0.0)
    assert torch.equal(patches, random_patches(coded(), 20, 8, seeded(0), least=0.0) / 100 - 0.5)
    assert patches.dtype == torch.float32


def test_flat_patches_are_left_out():
    def deviations(**options: float) -> np.ndarray:
        return random_patches(halves(), 500, 8, seeded(0), **options).flatten(1).numpy().std(1, ddof=1)

    usual = deviations()
    assert len(usual) == 500
    assert usual.min() >= LEAST_DEVIATION
    assert (deviations(least=0.0) == 0).mean() == pytest.approx(93 / 193, abs=0.07)  # of the places, and 3 sigma
    # the border's patches have a smaller deviation than noise, which has 74
    assert 70 <= deviations(least=70.0).min() < 74


def test_a_few_textured_places_are_enough():
    picture = np.full((60, 600), 128, np.uint8)
    picture[:, :20] = noise(60, 20)
    # so many that a picture with hardly any would have been given up
    patches = random_patches(grey(picture), 8000, 6, seeded(0))
    assert len(patches) == 8000
    assert patches.flatten(1).float().std(1).min() >= LEAST_DEVIATION


@pytest.mark.parametrize("picture", [np.full((40, 50), 137, np.uint8), noise(40, 50) // 16], ids=["flat", "faint"])
def test_pictures_without_texture_are_an_error_that_says_what_to_do(picture):
    with pytest.raises(ValueError, match=r"no patches of 12 x 12 pixels .* of 20 or more\. Use photographs with more"):
        random_patches(grey(picture), 500, 12, seeded(0))


def test_a_seed_determines_the_patches_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, same, other = (random_patches(halves(), 50, 8, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("count", [1, 3000])
def test_flat_pictures_are_an_error_soon_however_few_patches_are_wanted(count):
    with pytest.raises(ValueError, match="Use photographs with more texture"):
        random_patches([torch.full((1, 40, 40), 137, dtype=torch.uint8)], count, 12, seeded(0))
