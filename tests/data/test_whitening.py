import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from daezoo.data import ArraysData, DigitsData
from daezoo.data.splits import InMemory, Subset
from daezoo.data.whitening import DEVIATIONS, LARGEST, whiten


def splits(train, test=None):
    test = train if test is None else test
    return {"train": InMemory(train), "valid": InMemory(train, rows=torch.arange(3)), "test": InMemory(test)}


def smooth(count=400, side=6):
    """Images whose neighbouring pixels are alike."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, side // 2, side // 2, generator=draw)
    fine = torch.rand(count, 1, side, side, generator=draw)
    return 0.8 * torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear") + 0.2 * fine


def by_hand(train, images):
    """The same by NumPy and SciPy, in float64, before it is mapped to [0, 1]."""

    def normalised(part):
        part = part.flatten(1).double().numpy()
        part = part - part.mean(1, keepdims=True)
        return part / np.sqrt(part.var(1, keepdims=True) + (10 / 255) ** 2)

    u = normalised(train)
    to_white = np.linalg.inv(np.real(sqrtm(np.cov(u.T, bias=True) + 0.1 * np.eye(u.shape[1]))))
    z, scale = (normalised(images) - u.mean(0)) @ to_white, ((u - u.mean(0)) @ to_white).std()
    return torch.from_numpy(z / scale)


def test_whitened_samples_are_those_worked_out_by_hand():
    train, test = smooth()[:300], smooth()[300:]
    found = whiten(splits(train, test))["test"].clean
    expected = (0.5 + by_hand(train, test) / (2 * DEVIATIONS)).clamp(0, 1).view_as(test)
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=0)
    assert found.dtype == torch.float32


def test_whitening_takes_most_of_the_correlation_of_neighbours():
    def correlation(images):
        return np.corrcoef(images[..., 2, 2].flatten(), images[..., 2, 3].flatten())[0, 1]

    images = smooth()
    assert correlation(images) > 0.6
    assert abs(correlation(whiten(splits(images))["train"].clean)) < 0.3


def test_brightness_and_contrast_of_a_sample_hardly_matter():
    train = smooth()
    plain, changed = (whiten(splits(train, test))["test"].clean for test in (train[:20], 0.5 * train[:20] + 0.3))
    assert (plain - changed).abs().mean() < 0.02 < plain.std()


def test_statistics_are_those_of_the_training_split_alone():
    train = smooth()
    usual, other = whiten(splits(train)), whiten(splits(train, 1 - train[:7]))
    assert torch.equal(usual["train"].clean, other["train"].clean)
    assert len(other["test"]) == 7


def test_rows_and_labels_stay_together():
    images, labels, rows = smooth(), torch.arange(400), torch.tensor([7, 3, 300])
    parts = splits(images) | {"valid": InMemory(images, labels, rows)}
    sample = whiten(parts)["valid"].__getitems__(torch.tensor([2, 0]))
    assert sample.label.tolist() == [300, 7]
    assert sample.index.tolist() == [2, 0]
    torch.testing.assert_close(sample.clean, whiten(parts)["train"].clean[[300, 7]])


def test_a_data_module_whitens_bytes_with_its_training_split(tmp_path):
    images = (smooth() * 255).byte().squeeze(1).numpy()
    np.savez(tmp_path / "images.npz", train_images=images[:300], test_images=images[300:])
    plain, white = (ArraysData(path=str(tmp_path / "images.npz"), whiten=whiten) for whiten in (False, True))
    plain.setup()
    white.setup()
    train, test = (plain.splits[name] for name in ("train", "test"))
    expected = by_hand(train.clean[train.rows] / 255, test.clean / 255)
    expected = (0.5 + expected / (2 * DEVIATIONS)).clamp(0, 1).view_as(test.clean)
    torch.testing.assert_close(white.splits["test"].clean, expected.float(), atol=1e-4, rtol=0)


def test_a_data_module_does_not_whiten_unless_asked():
    data = DigitsData()
    data.setup()
    assert data.splits["train"].mean().std() > 0.1


@pytest.mark.parametrize("size", [1.0, 0.3, 0.01])
def test_samples_that_differ_in_brightness_alone_are_an_error(size):
    draw = torch.Generator().manual_seed(0)
    images = 0.9 * size * torch.rand(6, 6, generator=draw) + 0.1 * torch.rand(50, 1, 1, generator=draw)
    with pytest.raises(ValueError, match="do not differ, or in brightness alone"):
        whiten(splits(images))


def test_large_samples_are_an_error():
    with pytest.raises(ValueError, match=f"up to {LARGEST} elements, got {LARGEST + 1}. Use smaller images"):
        whiten(splits(torch.zeros(4, LARGEST + 1)))


def test_data_without_a_fixed_set_of_samples_is_an_error():
    train = InMemory(smooth())
    with pytest.raises(ValueError, match="fixed set of samples; train is cut or read anew"):
        whiten({"train": Subset(train, torch.arange(5)), "valid": train, "test": train})
