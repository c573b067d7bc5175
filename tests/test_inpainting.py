from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daezoo import photographs, restoring
from daezoo.architectures import ConvStack
from daezoo.cli import main
from daezoo.corruption import BlockMasking, Masking, OneOf
from daezoo.inpainting import filled, hole_of, value_of
from daezoo.models import ResidualDAE
from daezoo.photographs import Photograph

HOLE = np.zeros((20, 30), bool)
HOLE[5:12, 8:20] = True


def tiny(colors: int = 1, condition: str = "none") -> ResidualDAE:
    torch.manual_seed(0)
    model = ResidualDAE([colors, 8, 8], ConvStack(4, 3), condition).eval()
    torch.nn.init.normal_(model.network.last.weight, std=0.05)
    torch.nn.init.constant_(model.network.last.bias, -0.5)
    return model


def checkpoint(corruption: str) -> dict:
    described = {"class_path": f"daezoo.corruption.{corruption}", "init_args": {}}
    if corruption == "unsaid":
        return {}
    data = {"_class_path": "daezoo.data.DigitsData", "corruption": None if corruption == "usual" else described}
    return {"datamodule_hyper_parameters": data}


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> Path:
    """A picture and a mask, and models by the name of their corruption."""
    draw = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    Image.fromarray(draw).save(tmp_path / "in.png")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    monkeypatch.setattr(restoring.loading, "open_target", lambda name, source: (Path(name), checkpoint(name)))
    monkeypatch.setattr(restoring, "load_model", lambda path, checkpoint: tiny(3))
    return tmp_path


def inpaint(files: Path, *more: str, model: str = "BlockMasking", mask: str = "mask.png") -> int:
    return status(["inpaint", model, str(files / "in.png"), str(files / mask), str(files / "out.png"), *more])


def status(args: list[str]) -> int:
    """What a command exits with."""
    try:
        return main(args)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_pixels_that_are_known_stay_and_those_of_the_hole_do_not(files):
    assert inpaint(files) == 0
    before, after = (np.asarray(Image.open(files / name)) for name in ("in.png", "out.png"))
    assert np.array_equal(before[~HOLE], after[~HOLE])
    assert (before[HOLE][:, :3] != after[HOLE][:, :3]).mean() > 0.9
    assert np.array_equal(before[:, :, 3][~HOLE], after[:, :, 3][~HOLE])
    assert (after[:, :, 3][HOLE] == 255).all()  # what was erased to be filled can be seen again


def test_what_a_hole_shows_does_not_matter():
    model, draw = tiny(), np.random.default_rng(0).random((20, 30, 1), np.float32)
    other = np.where(HOLE[:, :, None], np.float32(1), draw)
    assert np.array_equal(filled(model, Photograph(draw), HOLE).pixels, filled(model, Photograph(other), HOLE).pixels)


def test_a_hole_is_filled_by_what_the_model_makes_of_black():
    for condition in ("none", "map"):
        model, draw = tiny(condition=condition), np.random.default_rng(0).random((20, 30, 1), np.float32)
        masked = torch.from_numpy(np.where(HOLE, 0, draw[:, :, 0]))[None, None]
        with torch.inference_mode():
            expected = model.denoise(masked, float(HOLE.mean()))[0, 0].numpy()
        found = filled(model, Photograph(draw), HOLE).pixels[:, :, 0]
        np.testing.assert_allclose(found[HOLE], expected[HOLE], atol=1e-6)


def test_a_mask_is_white_where_the_hole_is(tmp_path):
    grey = np.where(HOLE, 128, 127).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    assert np.array_equal(hole_of(tmp_path / "mask.png", Photograph(np.zeros((20, 30, 1), np.float32))), HOLE)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((30, 20), bool), "is 20x30 and the picture 30x20"),
        (np.ones((20, 30), bool), "marks all"),
        (np.zeros((20, 30), bool), "marks nothing"),
    ],
)
def test_masks_that_mean_nothing_are_refused(files, capsys, mask, message):
    Image.fromarray(mask).save(files / "odd.png")
    assert inpaint(files, mask="odd.png") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (files / "out.png").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [("Gaussian", "it was trained under Gaussian(sigma="), ("unsaid", "it does not say under what it was trained")],
)
def test_a_model_that_learnt_no_holes_is_refused(files, capsys, model, said):
    assert inpaint(files, model=model) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "was not trained to fill holes" in err and said in err


def test_a_model_of_the_usual_corruption_learnt_holes(files):
    assert inpaint(files, model="usual") == 0


def test_the_mask_is_not_overwritten(files, capsys):
    before = (files / "mask.png").read_bytes()
    args = [
        "inpaint",
        "BlockMasking",
        str(files / "in.png"),
        str(files / "mask.png"),
        str(files / "mask.png"),
        "--force",
    ]
    assert status(args) == 2
    assert "is the mask" in " ".join(capsys.readouterr().err.split())
    assert (files / "mask.png").read_bytes() == before


def test_a_mask_may_be_white_on_nothing(tmp_path):
    clear = np.stack([np.full((20, 30), 255, np.uint8)] * 3 + [255 * HOLE.astype(np.uint8)], 2)
    Image.fromarray(clear).save(tmp_path / "mask.png")
    assert np.array_equal(hole_of(tmp_path / "mask.png", Photograph(np.zeros((20, 30, 1), np.float32))), HOLE)


def test_what_is_there_is_not_overwritten_without_force(files, capsys):
    (files / "out.png").write_bytes(b"mine")
    assert inpaint(files) == 2
    assert "--force" in capsys.readouterr().err
    assert (files / "out.png").read_bytes() == b"mine"
    assert inpaint(files, "--force") == 0
    assert photographs.read(files / "out.png").pixels.shape == (20, 30, 3)


def test_a_folder_is_no_picture(files, capsys):
    assert status(["inpaint", "BlockMasking", str(files), str(files / "mask.png"), str(files / "new")]) == 2
    assert "takes one picture" in " ".join(capsys.readouterr().err.split())


def test_holes_have_the_value_that_the_model_found_in_them():
    kinds = [BlockMasking(size=2, value=-1.0), BlockMasking(size=4, value=-1.0)]
    assert (value_of("m", Masking()), value_of("m", BlockMasking()), value_of("m", OneOf(kinds))) == (0, 0, -1)
    with pytest.raises(ValueError, match=r"holes of several values, \[-1\.0, 0\.0\]"):
        value_of("m", OneOf([*kinds, Masking()]))
    seen = []
    model = tiny()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    filled(model, Photograph(np.full((20, 30, 1), 0.5, np.float32)), HOLE, -1.0)
    assert (seen[0][0, 0].numpy()[HOLE] == -1).all() and (seen[0][0, 0].numpy()[~HOLE] == 0.5).all()


@pytest.mark.parametrize("empty", ["image", "mask", "output"])
def test_an_empty_name_is_none(workplace, capsys, empty):
    names = [("" if name == empty else f"{name}.png") for name in ("image", "mask", "output")]
    assert status(["inpaint", "any", *names]) == 2
    assert "A name is empty" in capsys.readouterr().err


def test_a_format_that_loses_something_is_named(files, capsys):
    Image.open(files / "in.png").convert("RGB").save(files / "plain.png")
    names = [str(files / name) for name in ("plain.png", "mask.png", "out.jpg")]
    assert status(["inpaint", "BlockMasking", *names]) == 0
    assert "lossy" in capsys.readouterr().out
