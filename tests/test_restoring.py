import os
from pathlib import Path

import numpy as np
import pytest
import torch

from daezoo import photographs, restoring
from daezoo.architectures import ConvStack
from daezoo.corruption import BlockMasking, Gaussian, Masking, OneOf
from daezoo.models import ResidualDAE, VanillaDAE, residual
from daezoo.photographs import Photograph
from daezoo.restoring import denoised, fills_holes, noise_of, tiles_of


def tiny(colors: int = 1, condition: str = "none") -> ResidualDAE:
    torch.manual_seed(0)
    model = ResidualDAE([colors, 8, 8], ConvStack(4, 3), condition).eval()
    torch.nn.init.normal_(model.network.last.weight, std=0.05)
    return model


def picture(channels: int = 1, height: int = 20, width: int = 27, alpha: bool = False) -> Photograph:
    draw = np.random.default_rng(0).random((height, width, channels + alpha), np.float32)
    return Photograph(draw[:, :, :channels], draw[:, :, channels] if alpha else None)


@pytest.fixture
def models(monkeypatch):
    """What a name loads."""
    known: dict[str, object] = {
        "grey": tiny(),
        "told": tiny(condition="map"),
        "colour": tiny(3),
        "vanilla": VanillaDAE([4]),
        "holes": tiny(),
        "pairs": tiny(condition="map"),
        "white": tiny(),
        "strength": tiny(condition="map"),
        "gauss25": tiny(),
    }
    noises = {
        "strength": {"corruption": {"class_path": "daezoo.corruption.JPEG", "init_args": {}}},
        "gauss25": {"corruption": {"class_path": "daezoo.corruption.Gaussian", "init_args": {"sigma": 0.098}}},
        "holes": {"corruption": {"class_path": "daezoo.corruption.BlockMasking", "init_args": {}}},
        "pairs": {"corruption": {"class_path": "daezoo.corruption.Recorded", "init_args": {}}},
        "white": {"whiten": True},
    }

    def checkpoint(name: str, source: str | None) -> tuple[Path, dict[str, object]]:
        data = {"_class_path": "daezoo.data.DigitsData", **noises[name]} if name in noises else None
        return Path(name), {"name": name, **({"datamodule_hyper_parameters": data} if data else {})}

    monkeypatch.setattr(restoring.loading, "open_target", checkpoint)
    monkeypatch.setattr(restoring, "load_model", lambda path, checkpoint: known[checkpoint["name"]])
    return known


def test_a_picture_of_the_models_own_channels_is_what_the_model_makes_of_it():
    for channels in (1, 3):
        model, noisy = tiny(channels), picture(channels, alpha=True)
        with torch.inference_mode():
            expected = model.denoise(torch.from_numpy(noisy.pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        found = denoised(model, noisy, None)
        np.testing.assert_allclose(found.pixels, expected.numpy(), atol=1e-6)
        assert np.abs(found.pixels - noisy.pixels).max() > 0.01
        assert found.alpha is noisy.alpha


def test_a_grey_model_takes_the_channels_of_a_colour_picture_one_by_one():
    model, noisy = tiny(), picture(3)
    found = denoised(model, noisy, None).pixels
    for channel in range(3):
        alone = denoised(model, Photograph(noisy.pixels[:, :, channel : channel + 1]), None).pixels
        np.testing.assert_allclose(found[:, :, channel], alone[:, :, 0], atol=1e-6)


def test_a_colour_model_sees_a_grey_picture_three_times_and_its_answers_are_averaged():
    model, noisy = tiny(3), picture(1)
    three = denoised(model, Photograph(noisy.pixels.repeat(3, 2)), None).pixels
    np.testing.assert_allclose(denoised(model, noisy, None).pixels, three.mean(2, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("colors", [1, 3])
def test_every_tile_is_told_and_no_seam_is_seen(monkeypatch, colors):
    model, noisy = tiny(colors, "map"), picture(3, 50, 37)
    whole = denoised(model, noisy, 0.1).pixels
    monkeypatch.setattr(residual, "TILE", 16)
    told: list[None] = []
    found = denoised(model, noisy, 0.1, lambda: told.append(None)).pixels
    assert np.abs(found - whole).max() < 1e-5 < 1 / 255
    assert len(told) == tiles_of(model, noisy) == 4 * 3 * (3 if colors == 1 else 1)


@pytest.mark.parametrize("sigma", [5, 25, 50])
def test_the_noise_of_a_smooth_picture_is_estimated(sigma):
    smooth = np.linspace(0, 1, 200 * 300, dtype=np.float32).reshape(200, 300, 1)
    noisy = smooth + np.random.default_rng(0).normal(0, sigma / 255, smooth.shape).astype(np.float32)
    assert 255 * noise_of(noisy) == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("size", [(2, 2), (3, 40), (64, 64)])
def test_a_picture_without_detail_has_no_noise(value, size):
    flat = np.full((*size, 3), value, np.float32)
    assert noise_of(flat) == 0
    flat[:, :, 0] += np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32)
    assert noise_of(flat) == pytest.approx(noise_of(flat[:, :, :1]))  # of the channel that has some


def test_a_line_of_pixels_does_not_say_how_noisy_it_is():
    with pytest.raises(ValueError, match=r"one row or column .* pass --sigma"):
        noise_of(np.zeros((1, 50, 1), np.float32))


@pytest.mark.parametrize(("name", "sigma"), [("grey", None), ("told", "25"), ("told", "auto"), ("told", None)])
def test_the_command_writes_the_denoised_picture(daezoo_command, workplace, models, name, sigma):
    photographs.write(picture(), Path("in.png"))
    options = () if sigma is None else ("--sigma", sigma)
    status, out, err = daezoo_command("denoise", name, "in.png", "out.tif", *options)
    assert status == 0, err
    noisy = photographs.read(Path("in.png"))
    level = {"25": 25 / 255}.get(str(sigma), noise_of(noisy.pixels)) if name == "told" else None
    expected = denoised(models[name], noisy, level).pixels.clip(0, 1)
    np.testing.assert_allclose(photographs.read(Path("out.tif")).pixels, expected, atol=0.51 / 255)
    assert out.startswith("out.tif")
    assert ("estimated" in out) == (name == "told" and sigma != "25")


def test_a_folder_is_denoised_file_by_file_and_a_broken_one_does_not_stop_it(daezoo_command, workplace, models):
    Path("in/deeper").mkdir(parents=True)
    photographs.write(picture(3, alpha=True), Path("in/a.png"))
    photographs.write(picture(), Path("in/deeper/b.jpg"))
    Path("in/broken.png").write_bytes(b"nothing")
    Path("in/notes.txt").write_text("not a picture")
    status, out, err = daezoo_command("denoise", "grey", "in", "out")
    assert status == 2
    assert "in/broken.png is broken or no picture" in err
    assert "1 of 3 pictures were not denoised" in err
    assert sorted(str(path) for path in Path("out").rglob("*.*")) == ["out/a.png", "out/deeper/b.jpg"]
    assert photographs.read(Path("out/a.png")).alpha is not None
    assert len(out.splitlines()) == 2


def test_pictures_of_an_earlier_run_and_hidden_files_and_pipes_are_left_alone(daezoo_command, workplace, models):
    Path("in").mkdir()
    photographs.write(picture(), Path("in/a.png"))
    Path("in/._a.png").write_bytes(b"of another system")
    Path("in/folder.png").mkdir()
    os.mkfifo("in/pipe.png")
    Path("in/linked.png").symlink_to("pipe.png")
    Path("in/.thumbnails").mkdir()
    photographs.write(picture(), Path("in/.thumbnails/a.png"))
    for force in ((), ("--force",)):
        status, _, err = daezoo_command("denoise", "grey", "in", "in/out", *force)
        assert status == 0, err
        assert [str(path) for path in Path("in/out").rglob("*")] == ["in/out/a.png"]


def test_when_no_picture_is_denoised_none_is_said_to_be(daezoo_command, workplace, models):
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        Path("in", name).write_bytes(b"nothing")
    status, out, err = daezoo_command("denoise", "grey", "in", "out")
    assert (status, out) == (2, "")
    assert "2 of 2 pictures were not denoised." in err and "others" not in err


def test_a_model_of_recorded_noise_is_told_the_level_it_was_trained_at(daezoo_command, workplace, models):
    photographs.write(picture(), Path("in.png"))
    status, out, err = daezoo_command("denoise", "pairs", "in.png", "out.tif")
    assert status == 0, err
    assert "sigma" not in out
    expected = denoised(models["pairs"], photographs.read(Path("in.png")), 0.0).pixels.clip(0, 1)
    np.testing.assert_allclose(photographs.read(Path("out.tif")).pixels, expected, atol=0.51 / 255)


def test_a_picture_of_other_noise_than_the_model_learnt_is_named(daezoo_command, workplace, models):
    Path("in").mkdir()
    flat = np.full((80, 80, 1), 0.5, np.float32)
    draw = np.random.default_rng(0).standard_normal((80, 80, 1), np.float32)
    for name, sigma in (("fits", 25), ("noisier", 50)):
        photographs.write(Photograph(flat + sigma / 255 * draw), Path("in", f"{name}.png"))
    status, _, err = daezoo_command("denoise", "gauss25", "in", "out")
    assert status == 0, err
    [line] = err.splitlines()
    assert line.startswith("in/noisier.png: its noise looks like 4") and "the model learnt 25/255" in line


def test_names_that_are_no_utf_8_are_written_and_shown(daezoo_command, workplace, models):
    Path("in").mkdir()
    photographs.write(picture(), Path("in.png"))
    os.rename(b"in.png", b"in/b\xe9.png")
    status, out, err = daezoo_command("denoise", "grey", "in", "out")
    assert status == 0, err
    assert os.listdir(b"out") == [b"b\xe9.png"]
    assert out == "out/b\\udce9.png\n"


def test_memory_that_does_not_suffice_for_one_leaves_the_others(daezoo_command, workplace, models, monkeypatch):
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        photographs.write(picture(), Path("in", name))
    write = photographs.write

    def scarce(picture, file):
        if file.name == "a.png":
            raise MemoryError
        write(picture, file)

    monkeypatch.setattr(photographs, "write", scarce)
    status, _, err = daezoo_command("denoise", "grey", "in", "out")
    assert status == 2
    assert err.startswith("in/a.png: ") and "1 of 2 pictures were not denoised" in err
    assert Path("out/b.png").is_file()


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 80 + ".png", "[bold]x.png"])
def test_any_name_that_a_file_can_have_will_do(daezoo_command, workplace, models, name):
    photographs.write(picture(), Path("in.png"))
    assert daezoo_command("denoise", "grey", "in.png", name)[0] == 0
    assert daezoo_command("denoise", "grey", name, "again.png")[0] == 0
    assert sorted(path.name for path in workplace.iterdir()) == sorted(["again.png", "in.png", name])


@pytest.mark.parametrize("source", ["in.png", "in"])
def test_nothing_is_written_over_unless_it_is_forced(daezoo_command, workplace, models, source):
    Path("in").mkdir()
    for name in ("in.png", "in/in.png"):
        photographs.write(picture(), Path(name))
    target = Path("out.png" if source == "in.png" else "out")
    taken = target if source == "in.png" else target / "in.png"
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"mine")
    status, _, err = daezoo_command("denoise", "grey", source, str(target))
    assert status == 2
    assert f"{taken} is there already" in err and "--force" in err
    assert taken.read_bytes() == b"mine"
    assert daezoo_command("denoise", "grey", source, str(target), "--force")[0] == 0
    assert photographs.read(taken).pixels.shape == (20, 27, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("grey", "", "out"), "A name is empty"),
        (("grey", "gone.png", "out.png"), "There is no picture or folder gone.png"),
        (("grey", "in.png", "out.gif"), "must end with .png"),
        (("grey", "empty", "out"), "The folder empty has no pictures"),
        (("grey", "folder", "in.png"), "folder is a folder, so in.png has to be one"),
        (("grey", "in.png", "out.png", "--sigma", "25"), "not told the noise level, so --sigma does not apply"),
        (("told", "in.png", "out.png", "--sigma", "x"), "--sigma takes auto or a noise level from 0 to 255"),
        (("told", "in.png", "out.png", "--sigma", "300"), "--sigma takes auto or a noise level from 0 to 255"),
        (("told", "in.png", "out.png", "--sigma", "nan"), "--sigma takes auto or a noise level from 0 to 255"),
        (("vanilla", "in.png", "out.png"), "vanilla is a VanillaDAE, which does not restore pictures of any size"),
        (("grey", "clear.png", "out.jpg"), "JPEG has no transparency"),
        (("holes", "in.png", "out.png"), "holes was trained to fill holes, not under noise: see daezoo inpaint"),
        (("white", "in.png", "out.png"), "white was trained on whitened images"),
        (("pairs", "in.png", "out.png", "--sigma", "25"), "not told the noise level, so --sigma does not apply"),
        (("strength", "in.png", "out.png"), "told the level of JPEG(strength=0.8), which a picture does not say"),
        (("grey", "in.png", "in.png/out.png"), "in.png is a file"),
        (("grey", "folder", "in.png/out"), "in.png is a file"),
        (("grey", "in.png", "out.png", "--device", "cuda:9"), "--device cuda:9 cannot be used"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(daezoo_command, workplace, models, args, said):
    photographs.write(picture(), Path("in.png"))
    photographs.write(picture(alpha=True), Path("clear.png"))
    Path("empty").mkdir()
    Path("folder").mkdir()
    photographs.write(picture(), Path("folder/a.png"))
    before = sorted(workplace.rglob("*"))
    status, _, err = daezoo_command("denoise", *args)
    assert status == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 5)], ids=str)
def test_a_picture_of_any_size_is_denoised(daezoo_command, workplace, models, size):
    photographs.write(picture(1, *size), Path("in.png"))
    status, _, err = daezoo_command("denoise", "told", "in.png", "out.png", "--sigma", "25")
    assert status == 0, err
    assert photographs.read(Path("out.png")).pixels.shape == (*size, 1)
    if min(size) == 1:
        status, _, err = daezoo_command("denoise", "told", "in.png", "other.png")
        assert status == 2
        assert "one row or column" in err


def test_holes_of_several_kinds_are_holes():
    assert fills_holes(Masking()) and fills_holes(OneOf([BlockMasking(size=2), BlockMasking(size=8)]))
    assert not fills_holes(OneOf([Masking(), Gaussian()])) and not fills_holes(None)
