"""A damaged file through a command that reads such a file: an error of ours or a valid run, never a traceback."""

import atexit
import hashlib
import io
import json
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import warm
import yaml
from fuzz_configs import CONFIGS
from mutations import damaged, mistaken
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load, save

ZOO = CONFIGS.parent / "zoo"
SHORT = ["--trainer.fast_dev_run", "true"]
SMALL = ["--model.hidden", "[4]", "--pictures", "false", "--trainer.max_steps", "1", "--trainer.max_epochs", "1"]
FEW = ["--data.batch_size", "4"]
RESTORER = {
    "class_path": "daezoo.models.ResidualDAE",
    "init_args": {"network": {"class_path": "daezoo.architectures.UNet", "init_args": {"widths": [4, 8], "blocks": 1}}},
}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP", ".pgm": "PPM"}
Prepare = Callable[[Path, Random], list[str]]
"""Makes files in a folder, one of them damaged, and says the command that reads them."""


def fit(data: str, *others: str) -> list[str]:
    """A training of the smallest model."""
    names = ("trainer", f"data/{data}", "model/vanilla")
    return ["fit", *(part for name in names for part in ("--config", f"{CONFIGS}/{name}.yaml")), *SMALL, *others]


@cache
def runs() -> Path:
    """A folder with runs of three models: of digits, one that denoises pictures, and one that fills holes in them."""
    folder = Path(tempfile.mkdtemp(prefix="daezoo-fuzz-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "restorer.yaml").write_text(yaml.safe_dump({"model": RESTORER}))
    trained = ["--pictures", "false", "--trainer.max_steps", "1", *FEW, "--runs", "runs", "--data.corruption"]
    base = ["fit", "--config", f"{CONFIGS}/trainer.yaml", "--config", f"{CONFIGS}/data/digits.yaml"]
    for args in (
        fit("digits", "--name", "digits"),
        [*base, "--config", "restorer.yaml", *trained, "Gaussian", "--name", "denoises"],
        [*base, "--config", "restorer.yaml", *trained, "BlockMasking", "--name", "fills"],
    ):
        assert warm.run(folder, args) == "ran", (folder / "stderr").read_text()
    return folder


def run_of(name: str) -> Path:
    """One of these runs."""
    return next(runs().glob(f"runs/*/{name}"))


def picture(dice: Random, side: int = 24) -> bytes:
    """A sound picture of some format, whatever its name will be."""
    shape = dice.choice(((side, side), (side, side, 3), (side, side, 4)))
    kind = dice.choice(list(FORMATS.values()))
    file = io.BytesIO()
    pixels = np.random.default_rng(dice.randrange(9)).integers(0, 256, shape, np.uint8)
    image = Image.fromarray(pixels)
    image.convert("RGB" if kind in ("JPEG", "PPM") and len(shape) == 3 else image.mode).save(file, kind)
    return file.getvalue()


def wrong_picture(dice: Random) -> bytes:
    """A damaged picture, or one whose header promises more than there is."""
    if dice.random() < 0.8:
        return damaged(picture(dice), dice)
    width, height = dice.choice(((2**31 - 1, 2**31 - 1), (100_000, 100_000), (2**31, 1), (0, 5), (1, 1), (9000, 9000)))
    header = struct.pack(">IIBBBBB", width, height, dice.choice((8, 16)), dice.choice((0, 2, 3, 6)), 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def wrong_array(dice: Random, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array that is not what was expected."""
    good = np.random.default_rng(0).random(shape, dtype=np.float32)
    return dice.choice(
        (
            *(good * np.nan, good + np.inf, good - 9, good[:0], good[:1], good.astype(complex), good[0], np.array(3)),
            *(good.astype(object), good.astype("S"), good.astype("M8[s]"), good.astype(bool), good.astype(">f8")),
            *(good.astype(np.int64), good[..., None, None], good[:, :0], np.array("x"), np.array([None, {}])),
            *(good.astype(np.longdouble), good.astype([("a", "f4")]), good[:, :2], np.zeros((3, 0))),
        )
    )


def npy(array: NDArray[Any], dice: Random, lie: float = 0.15) -> bytes:
    """An array as a file, whose header may promise what is not there."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    content = file.getvalue()
    if dice.random() < lie:
        claim = dice.choice(
            ("(9**9,)", "(1000000000000,)", "(10000,90000)", "(-1,6)", "(True,6)", "()", "(40,6,9**99)")
        )
        head, _, tail = content.partition(b"'shape': ")
        old, bracket, rest = tail.partition(b")")
        content = head + b"'shape': " + claim.encode().ljust(len(old) + len(bracket)) + rest
    return content


def archive(arrays: dict[str, bytes]) -> bytes:
    """Files of arrays in an .npz file."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in arrays.items():
            opened.writestr(name, content)
    return file.getvalue()


def arrays(folder: Path, dice: Random) -> list[str]:
    """An .npz file, or a folder of .npy files, of which one is wrong."""
    shape = dice.choice(((20, 6), (20, 4, 4), (20, 4, 4, 3)))
    names = ["train_images", "test_images", "train_labels", "test_labels"]
    good = {name: np.random.default_rng(0).random(shape, dtype=np.float32) for name in names[:2]}
    good |= {name: np.arange(20) % 3 for name in names[2:]}
    wrong = dice.choice(names)
    if dice.random() < 0.5:
        good[wrong] = wrong_array(dice, shape)
    files = {f"{name}.npy": npy(array, dice, 0.3 * (name == wrong)) for name, array in good.items()}
    others = ["--data.rescale", "true"] if dice.random() < 0.2 else []
    if dice.random() < 0.5:
        files[f"{wrong}.npy"] = damaged(files[f"{wrong}.npy"], dice)
    if dice.random() < 0.1:
        files[f"{wrong}s.npy"] = files.pop(f"{wrong}.npy")
    if dice.random() < 0.4:
        (folder / "mine").mkdir()
        for name, content in files.items():
            (folder / "mine" / name).write_bytes(content)
        return fit("arrays", "--data.path", "mine", *FEW, *SHORT, *others)
    content = archive(files)
    (folder / "mine.npz").write_bytes(damaged(content, dice) if dice.random() < 0.3 else content)
    path = ["--data.path", "mine.npz", *FEW]
    if dice.random() < 0.2:
        return ["evaluate", str(run_of("digits")), "--data", "arrays", *path]
    return fit("arrays", *path, *SHORT, *others)


def pictures(folder: Path, dice: Random) -> list[str]:
    """A folder of pictures, one of which is wrong."""
    pair = dice.random() < 0.3
    for name in ("clean", "noisy")[: 1 + pair]:
        (folder / name).mkdir()
        for number in range(10):
            (folder / name / f"{number}.png").write_bytes(picture(Random(number)))
    suffix = dice.choice(list(FORMATS))
    (folder / dice.choice(("clean", "noisy")[: 1 + pair]) / f"x{suffix}").write_bytes(wrong_picture(dice))
    few = ["--data.crop", "8", "--data.crops_per_epoch", "8", *FEW]
    if pair:
        command = fit("pairs", "--data.root", "clean", "--data.noisy", "noisy", *few, *SHORT)
        return [*command, "--data.corruption", "Recorded", "--data.color", dice.choice(("true", "false"))]
    if dice.random() < 0.2:
        kind = dice.choice((["patches"], ["shapes", "--data.kind", "rectangles-images"]))
        few = [*(f"--data.{name}=8" for name in ("train", "valid", "test")), *FEW]
        return fit(*kind, "--data.photographs", "clean", *few, *SHORT)
    if dice.random() < 0.3:
        judged = ["--protocol", "kair-gray-v1", "--sigma", "15", "--data", "images", "--data.root", "clean"]
        return ["evaluate", str(run_of("denoises")), *judged]
    return fit("images", "--data.root", "clean", "--data.color", dice.choice(("true", "false")), *few, *SHORT)


def restored(folder: Path, dice: Random) -> list[str]:
    """A picture to restore, or a mask, that is wrong."""
    names = [f"{name}{dice.choice(list(FORMATS)[:4])}" for name in ("picture", "mask")]
    for name in names:
        (folder / name).write_bytes(picture(dice))
    hole = np.zeros((24, 24), np.uint8)
    hole[5:9, 5:9] = 255
    Image.fromarray(hole).save(folder / "mask.png")
    wrong = dice.choice((names[0], "mask.png"))
    (folder / wrong).write_bytes(wrong_picture(dice))
    output = dice.choice(("out.png", "out.jpg", "out.tif", "out.webp"))
    if dice.random() < 0.5:
        return ["inpaint", str(run_of("fills")), names[0], "mask.png", output]
    return ["denoise", str(run_of("denoises")), wrong, output, "--sigma", dice.choice(("auto", "25"))]


def raw(folder: Path, dice: Random) -> list[str]:
    """MNIST's files, one of which is wrong."""
    place = folder / "data" / "MNIST" / "raw"
    place.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            (place / f"{part}-{kind}-ubyte").write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
    hit = dice.choice(sorted(place.iterdir()))
    content = bytearray(hit.read_bytes())
    if dice.random() < 0.5:
        at = dice.randrange(16 if "images" in hit.name else 8)
        content[at] = dice.choice((0, 1, 2, 9, 13, 14, 127, 255))
        hit.write_bytes(content)
    else:
        hit.write_bytes(damaged(bytes(content), dice))
    few = ["--data.root", "data", "--data.valid", "8", *FEW, *SHORT]
    if dice.random() < 0.3:
        return fit("mnist_variations", "--data.train", "16", "--data.test", "16", *few)
    return fit("mnist", *few)


def shards(folder: Path, dice: Random) -> list[str]:
    """A folder that litdata wrote, of which the index or a shard is wrong."""
    from litdata.streaming.writer import BinaryWriter

    for part in ("train", "test"):
        writer = BinaryWriter(str(folder / "mine" / part), chunk_size=10)
        for row in range(30):
            writer[row] = {"image": np.random.default_rng(row).integers(0, 256, (4, 4), np.uint8), "label": row % 3}
        writer.done()
        writer.merge()
    hit = dice.choice(sorted((folder / "mine").glob("*/*.*")))
    if hit.suffix == ".json" and dice.random() < 0.7:
        hit.write_text(json.dumps(mistaken(json.loads(hit.read_text()), dice), default=str))
    else:
        hit.write_bytes(damaged(hit.read_bytes(), dice))
    return fit("shards", "--data.path", "mine", *FEW, *SHORT)


def wrong_checkpoint(content: bytes, dice: Random) -> bytes:
    """A damaged checkpoint, or a sound one of something else."""
    if dice.random() < 0.3:
        return damaged(content, dice)
    tree = torch.load(io.BytesIO(content), weights_only=True)
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    part = dice.choice(("hyper_parameters", "datamodule_hyper_parameters", "state_dict", "loops", "all"))
    if part == "all":
        tree = mistaken(tree, dice)
    elif part == "state_dict" and dice.random() < 0.7:
        name = dice.choice(list(tree[part]))
        wrong = (torch.zeros(0), tree[part][name] * torch.nan, tree[part][name].to(torch.int8), torch.zeros(3, 3))
        tree[part][name] = dice.choice(wrong)
    else:
        tree[part] = mistaken(tree[part], dice)
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def checkpoint(folder: Path, dice: Random) -> list[str]:
    """A checkpoint that is wrong."""
    name = dice.choice(("digits", "digits", "denoises"))
    content = (run_of(name) / "checkpoints" / "last.ckpt").read_bytes()
    (folder / "bad.ckpt").write_bytes(wrong_checkpoint(content, dice))
    (folder / "picture.png").write_bytes(picture(Random(0)))
    digits = ["--config", f"{CONFIGS}/data/digits.yaml", "--ckpt_path", "bad.ckpt"]
    return dice.choice(
        (
            *(["evaluate", "bad.ckpt"], ["evaluate", "bad.ckpt", "--level", "0.5", "--json"], ["probe", "bad.ckpt"]),
            *([*fit("digits", *FEW, *SHORT), "--start_from", "bad.ckpt"], ["noise-grid", "bad.ckpt"]),
            *(["denoise", "bad.ckpt", "picture.png", "out.png"], ["test", *digits], ["validate", *digits]),
            ["finetune", "bad.ckpt", "--max_epochs", "1", "--scratch", "false"],
        )
    )


def run_folder(folder: Path, dice: Random) -> list[str]:
    """A run folder one of whose files is wrong."""
    shutil.copytree(run_of("digits"), folder / "run")
    files = [path for path in sorted((folder / "run").rglob("*")) if path.suffix in (".yaml", ".ckpt", ".json", ".csv")]
    hit = dice.choice(files)
    content = hit.read_bytes()
    if hit.suffix == ".ckpt":
        hit.write_bytes(wrong_checkpoint(content, dice))
    elif hit.suffix == ".json" and dice.random() < 0.6:
        hit.write_text(json.dumps(mistaken(json.loads(content), dice), default=str))
    elif hit.suffix == ".yaml" and dice.random() < 0.6:
        hit.write_text(yaml.safe_dump(mistaken(yaml.safe_load(content), dice)))
    else:
        hit.write_bytes(damaged(content, dice))
    if dice.random() < 0.3 and hit.name != "summary.json":
        (folder / "run" / "summary.json").unlink()
    resumed = ["fit", "--resume", "run", "--trainer.max_steps", "2", "--trainer.devices", "1"]
    exported = ["zoo", "export", "run", "--name", "vanilla.x", "--dest", "zoo"]
    others = (["report", "run", "--samples", "20"], ["noise-grid", "run"], ["evaluate", "run"], exported)
    return dice.choice((resumed, resumed, *others))


def zoo(folder: Path, dice: Random) -> list[str]:
    """A pretrained model whose entry or weights are wrong; the entry may vouch for the wrong weights."""
    place = folder / "mine"
    place.mkdir()
    name = "vanilla.digits-mask25"
    entry, weights = yaml.safe_load((ZOO / f"{name}.yaml").read_text()), (ZOO / f"{name}.safetensors").read_bytes()
    if dice.random() < 0.5:
        weights = wrong_weights(weights, dice)
        if dice.random() < 0.8:
            entry["weights"] |= {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
        text = yaml.safe_dump(entry).encode()
    elif dice.random() < 0.6:
        text = yaml.safe_dump(mistaken(entry, dice)).encode()
    else:
        text = damaged(yaml.safe_dump(entry).encode(), dice)
    (place / f"{name}.yaml").write_bytes(text)
    (place / f"{name}.safetensors").write_bytes(weights)
    source = ["--source", "mine"]
    return dice.choice(
        (
            *(["zoo", "verify", *source], ["zoo", "verify", name, *source], ["zoo", "import", "mine"]),
            *(
                ["zoo", "list", *source],
                ["zoo", "info", name, *source],
                ["zoo", "download", *source, "--dest", "there"],
            ),
            *(["zoo", "publish", name, "there", *source], ["zoo", "readme", "mine"], ["evaluate", name, *source]),
            *(["evaluate", f"mine/{name}.yaml"], ["evaluate", f"mine/{name}.safetensors"]),
            [*fit("digits", *FEW, *SHORT), "--start_from", f"mine/{name}.safetensors"],
        )
    )


def wrong_weights(content: bytes, dice: Random) -> bytes:
    """A safetensors file that is damaged, lies about itself, or holds other tensors."""
    if dice.random() < 0.3:
        return damaged(content, dice)
    if dice.random() < 0.5:
        size = int.from_bytes(content[:8], "little")
        header = json.dumps(mistaken(json.loads(content[8 : 8 + size]), dice), default=str).encode()
        claim = dice.choice((len(header), len(header), 2**63, 0, 2**40))
        return claim.to_bytes(8, "little") + header + content[8 + size :]
    tensors = load(content)
    name = dice.choice(list(tensors))
    wrong = (tensors[name] * torch.nan, tensors[name].double(), tensors[name][:0], tensors[name].flatten())
    tensors[dice.choice((name, "x"))] = dice.choice(wrong).clone()
    return save(tensors)


def cached(folder: Path, dice: Random) -> list[str]:
    """Data that was generated before, in a cache where it was damaged; it is made again."""
    command = fit("shapes", *(f"--data.{name}=8" for name in ("train", "valid", "test")), *FEW, *SHORT)
    assert warm.run(folder, command) == "ran"
    [kept] = (folder / "cache" / "generated").iterdir()
    kept.write_bytes(wrong_weights(kept.read_bytes(), dice))
    assert warm.run(folder, command) == "ran", (folder / "stderr").read_text()
    return command


KINDS: tuple[Prepare, ...] = (arrays, pictures, restored, raw, shards, checkpoint, run_folder, zoo, cached)


def file(folder: Path, number: int) -> str:
    """A damaged file, or what is wrong in it, through a command that reads it."""
    dice = Random(f"file {number}")
    return warm.run(folder, KINDS[number % len(KINDS)](folder, dice))
