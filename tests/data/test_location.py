from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daezoo.data import ArraysData, ImagesData, MNISTData, ShardsData
from daezoo.data.location import DataMissing, located


def test_the_variable_stands_for_its_folder(monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", "/some/where")
    assert located("$DAEZOO_DATA/bsd400") == Path("/some/where/bsd400")
    assert located("other/place") == Path("other/place")
    monkeypatch.delenv("DAEZOO_DATA")
    assert located("$DAEZOO_DATA/bsd400") == Path("data/bsd400")  # as for the sets that torchvision reads


def test_data_is_found_where_the_variable_points(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    np.savez(tmp_path / "my.npz", train_images=np.zeros((4, 3, 3), np.uint8), test_images=np.ones((2, 3, 3), np.uint8))
    (tmp_path / "pictures").mkdir()
    for number in range(10):
        Image.new("L", (8, 8), number).save(tmp_path / "pictures" / f"{number}.png")
    arrays, images = ArraysData("$DAEZOO_DATA/my.npz"), ImagesData("$DAEZOO_DATA/pictures", crop=4)
    for data in (arrays, images):
        data.setup("test")
    assert arrays.hparams["path"] == "$DAEZOO_DATA/my.npz"  # fits another machine too
    assert len(arrays.splits["test"]) == 2
    assert len(images.splits["test"]) == 4


@pytest.mark.parametrize("kind", [ArraysData, ImagesData, ShardsData])
def test_absent_data_is_told_from_damaged(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=str(tmp_path / "absent")):
        kind("$DAEZOO_DATA/absent").setup("test")


def test_a_set_that_cannot_be_downloaded_is_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    monkeypatch.setattr(MNISTData.source, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataMissing, match="DAEZOO_DATA"):
        MNISTData().prepare_data()
