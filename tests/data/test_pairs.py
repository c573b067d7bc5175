from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daezoo.augmentation import ColorJitter, Crop, ShuffleChannels, Turn
from daezoo.corruption import Gaussian, Recorded
from daezoo.data import PairsData
from daezoo.training import run as fit
from small_sets import folder_of

SHIFT = 9
"""What the noisy pictures of these tests have more than the clean ones, of 255."""


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    pictures = [np.random.default_rng(seed).integers(0, 200, (24, 30 + seed), np.uint8) for seed in range(12)]
    folder_of(tmp_path / "clean", *pictures)
    folder_of(tmp_path / "noisy", *(picture + np.uint8(SHIFT) for picture in pictures))
    return {"root": str(tmp_path / "clean"), "noisy": str(tmp_path / "noisy")}


def loaded(folders: dict[str, str], **options: Any) -> PairsData:
    data = PairsData(**folders, **({"crop": 8, "crops_per_epoch": 64, "batch_size": 16} | options))
    data.setup()
    return data


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_noisy_and_clean_are_cut_at_the_same_places(folders, split):
    batch = next(loaded(folders).evaluation_batches(split))
    assert batch.clean.shape[1:] == batch.noisy.shape[1:] == (1, 8, 8)
    torch.testing.assert_close(255 * (batch.noisy - batch.clean), torch.full_like(batch.clean, SHIFT))
    assert (batch.level == 0).all() and batch.mask.all()


def test_the_mean_is_that_of_the_clean_pictures(folders):
    data = loaded(folders)
    clean = data.splits["train"].both.pixels[0].double().mean() / 255
    torch.testing.assert_close(data.splits["train"].mean(), clean.float().expand(1, 8, 8))


def test_another_corruption_is_that_of_the_clean_pictures(folders):
    data = loaded(folders)
    batch = next(data.evaluation_batches("test", Gaussian(0.1)))
    assert abs(float((batch.noisy - batch.clean).std()) - 0.1) < 0.01
    assert abs(float((batch.noisy - batch.clean).mean())) < 0.01


def test_both_are_augmented_alike_in_training(folders, tmp_path, monkeypatch):
    seen = []
    corrupt = PairsData._corrupt
    monkeypatch.setattr(PairsData, "_corrupt", lambda *args: seen.append(corrupt(*args)) or seen[-1])
    configs = [
        part for name in ("trainer", "data/pairs", "model/residual") for part in ("--config", f"configs/{name}.yaml")
    ]
    where = ["--data.root", folders["root"], "--data.noisy", folders["noisy"], "--runs", str(tmp_path / "runs")]
    small = ["--data.crop", "8", "--data.crops_per_epoch", "32", "--data.batch_size", "16", "--trainer.max_epochs", "1"]
    network = ["--model.network.widths", "[4,6]", "--pictures", "false"]
    fit(
        [
            "fit",
            *configs,
            *where,
            *small,
            *network,
            "--data.corruption",
            "Recorded",
            "--data.augmentation",
            "[{class_path: daezoo.augmentation.Turn}]",
        ]
    )
    trained = [batch for batch in seen if len(batch.clean) == 16]
    assert trained
    for batch in seen:
        torch.testing.assert_close(255 * (batch.noisy - batch.clean), torch.full_like(batch.clean, SHIFT))


def test_a_module_can_be_built_again_from_its_hyperparameters(folders):
    data = loaded(folders, augmentation=[Crop(1), Turn()])
    assert data.hparams["corruption"]["class_path"] == "daezoo.corruption.Recorded"
    assert {"root", "noisy"} <= data.hparams.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruption": Gaussian(0.1)}, "--data.corruption Recorded"),
        ({"evaluation_corruption": Gaussian(0.1)}, "--data.corruption Recorded"),
        ({"whiten": True}, "leave it out"),
        ({"augmentation": [ColorJitter()]}, "changed by ColorJitter"),
        ({"augmentation": [Turn(), ShuffleChannels()]}, "changed by ShuffleChannels"),
    ],
)
def test_what_does_not_go_with_pairs_is_refused(folders, options, message):
    with pytest.raises(ValueError, match=message):
        PairsData(**folders, **options)


def test_names_must_be_equal(folders):
    next(Path(folders["noisy"]).iterdir()).rename(Path(folders["noisy"]) / "other.png")
    with pytest.raises(ValueError, match=r"same names: .* alone, and 1 more"):
        loaded(folders)


def test_sizes_must_be_equal(folders):
    folder_of(Path(folders["noisy"]), np.zeros((24, 24), np.uint8))
    with pytest.raises(ValueError, match=r"30x24 in .* and 24x24 in .*: sizes must be equal"):
        loaded(folders)


def test_recorded_noise_cannot_be_drawn():
    with pytest.raises(ValueError, match="--data pairs"):
        Recorded()(torch.ones(2, 1, 4, 4))
