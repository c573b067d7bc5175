"""Configurations and files that are spoiled at random: an error of ours or a valid run, never a traceback."""

import io
import os
import pickle
import random
import resource
import traceback
import zipfile
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from campaign import Campaign
from kills import reference
from PIL import Image
from trainings import FORKS

from conftest import ALL_MODELS, CONFIGS
from daezoo.cli import main

SECONDS = 60
"""Longest that a try may take."""
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 10**30, -(2**63), 0.5, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "ü\u0000", "x" * 9999, "/", "../../etc/passwd", "2020-01-01", b"bytes"),
    *([], {}, [[]], [1, "a", None], {"class_path": "os.system", "init_args": {"command": "touch ran"}}),
    *({"class_path": 3}, {"class_path": "torch.nn.Linear"}, {"class_path": "daezoo.models.ConvDAE"}, {"init_args": 1}),
    *("daezoo.models.StackedDAE", "daezoo.corruption.JPEG", "os.system"),
)
TEXTS = (
    "!!python/object/apply:os.system ['touch ran']",
    "&a [*a]",
    "<<: *b",
    "\t- x",
    "{",
    "? ",
    "---\n---",
    "%YAML 9",
)


def _serve(pipe: Connection) -> None:
    """Run commands one after the other, with little memory, and say how each ended."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, resource.RLIM_INFINITY))
    while True:
        folder, args = pipe.recv()
        os.chdir(folder)
        os.environ["DAEZOO_CACHE"] = str(folder / "cache")
        with open(folder / "output.txt", "wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            status: Any = main(args)
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            status = traceback.format_exc()
        pipe.send(status)


class Worker:
    """A process that runs commands; another one takes its place when it dies or takes too long."""

    def __init__(self) -> None:
        self.pipe, other = FORKS.Pipe()
        self.process = FORKS.Process(target=_serve, args=(other,), daemon=True)
        self.process.start()

    def run(self, folder: Path, args: list[str]) -> str:
        """Run a command; whether it ran or refused.

        Raises:
            AssertionError: If it did neither.
        """
        self.pipe.send((folder, args))
        if not self.pipe.poll(SECONDS):
            self.process.kill()
            worker.cache_clear()
            raise AssertionError(f"it took over {SECONDS} s: {args}")
        try:
            status = self.pipe.recv()
        except EOFError:
            worker.cache_clear()
            raise AssertionError(f"the process died: {args}") from None
        output = (folder / "output.txt").read_text(errors="replace")
        assert not (folder / "ran").exists(), "code in a file was run"
        refused = status == 2 or (status == 1 and args[:2] == ["zoo", "verify"])
        assert refused or status in (0, None), f"{status}\n{output}"
        assert status != 2 or "daezoo: error:" in output, output
        assert "Traceback" not in output, output
        return "refused" if refused else "ran"


@cache
def worker() -> Worker:
    """The process at work."""
    return Worker()


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def _parent(tree: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        tree = tree[key]
    return tree


def mutated(dice: random.Random) -> bytes:
    """A shipped configuration with one to three mistakes."""
    tree: dict[str, Any] = {}
    files = ["trainer", f"data/{dice.choice(('digits', 'shapes', 'photographs'))}", f"model/{dice.choice(ALL_MODELS)}"]
    for name in files:
        _merge(tree, yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    for _ in range(dice.choice((1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            break
        place, kind = dice.choice(places), dice.randrange(5)
        parent, key = _parent(tree, place), place[-1]
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[dice.choice(("x", "", f"{key}s", str(key).upper(), 3, None))] = parent.pop(key)
        elif kind == 2:
            other = dice.choice(places)
            parent[key] = _parent(tree, other)[other[-1]] if other[: len(place)] != place else None
        else:
            parent[key] = dice.choice(VALUES)
    text = yaml.dump(tree, sort_keys=False).encode() if dice.random() < 0.99 else b""
    if dice.random() < 0.4:
        at = dice.randrange(len(text) + 1)
        extra = dice.choice((dice.choice(TEXTS).encode(), bytes([dice.randrange(256)]), b"", b"[" * 3000))
        text = text[:at] + (extra + text[at + dice.randrange(3) :] if dice.random() < 0.8 else b"")
    return text


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def configuration(folder: Path, number: int) -> str:
    """A run of one step of a configuration with mistakes."""
    (folder / "mutated.yaml").write_bytes(mutated(random.Random(f"configuration {number}")))
    bounds = ["--trainer.fast_dev_run", "true", "--trainer.devices", "1", "--trainer.num_nodes", "1"]
    return worker().run(folder, ["fit", "--config", "mutated.yaml", *bounds, "--data.num_workers", "0"])


def _npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


@cache
def exported() -> Path:
    """A folder with one pretrained model."""
    run, _ = reference("vanilla")
    folder = run.parents[2]
    assert worker().run(folder, ["zoo", "export", str(run), "--name", "vanilla.fuzz", "--dest", "zoo"]) == "ran"
    return folder / "zoo"


def spoiled(content: bytes, dice: random.Random) -> bytes:
    """A file with some of its bytes changed, missing or doubled."""
    found = bytearray(content)
    at = dice.randrange(len(found))
    head = dice.randrange(min(len(found), 200))  # headers say how to read the rest
    kind = dice.randrange(6)
    if kind == 0:
        del found[at:]
    elif kind == 1:
        found[at] ^= 1 << dice.randrange(8)
    elif kind == 2:
        found[head] ^= 1 << dice.randrange(8)
    elif kind == 3:
        found[head : head + 8] = dice.randbytes(8)
    elif kind == 4:
        found[at : at + 50] = bytes(50)
    else:
        found[at:at] = found[: dice.randrange(1, 100)]
    return bytes(found)


def _arrays(dice: random.Random) -> bytes:
    """Arrays that are not what was expected, and a size that no memory has."""
    images = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    good = {"train_images": images, "test_images": images}
    wrong = [images[:0], images[0], images * np.nan, images - 9, np.array("x")]
    wrong += [images.astype(kind) for kind in (object, complex, np.float64, np.float16)]
    if dice.random() < 0.3:
        good[dice.choice(list(good))] = dice.choice(wrong)
    content = _npz(**good)
    if dice.random() < 0.2:
        content = _npz(train_images=images, test_images=images).replace(b"(40, 6)", b"(9**9,)")
    return content if dice.random() < 0.3 else spoiled(content, dice)


def file(folder: Path, number: int) -> str:
    """A spoiled file through one of the commands that take one."""
    dice = random.Random(f"file {number}")
    run, _ = reference("vanilla")
    checkpoint = (run / "checkpoints" / "last.ckpt").read_bytes()
    step = ["--trainer.fast_dev_run", "true"]

    def fit(data: str, *others: str) -> list[str]:
        names = ("trainer", f"data/{data}", "model/vanilla")
        return ["fit", *(part for name in names for part in ("--config", f"{CONFIGS}/{name}.yaml")), *others, *step]

    def arrays() -> list[str]:
        (folder / "data.npz").write_bytes(_arrays(dice))
        return fit("arrays", "--data.path", "data.npz", "--data.batch_size", "8")

    def pictures() -> list[str]:
        (folder / "photos").mkdir()
        for name in range(10):
            (folder / "photos" / f"{name}.png").write_bytes(_png())
        (folder / "photos" / "5.png").write_bytes(spoiled(_png(), dice))
        return fit("images", "--data.root", "photos", "--data.crop", "16", "--data.crops_per_epoch", "128")

    def weights(*command: str) -> list[str]:
        (folder / "bad.ckpt").write_bytes(spoiled(checkpoint, dice))
        return [part.replace("CKPT", "bad.ckpt") for part in command]

    def zoo() -> list[str]:
        (folder / "zoo").mkdir()
        for path in exported().iterdir():
            (folder / "zoo" / path.name).write_bytes(path.read_bytes())
        hit = folder / "zoo" / f"vanilla.fuzz.{dice.choice(('yaml', 'safetensors'))}"
        hit.write_bytes(spoiled(hit.read_bytes(), dice))
        return ["zoo", *dice.choice((["verify", "vanilla.fuzz", "--source", "zoo"], ["import", "zoo"]))]

    def denoise() -> list[str]:
        (folder / "in.png").write_bytes(spoiled(_png(), dice))
        return ["denoise", "residual.gray-blind", "in.png", "out.png", "--source", str(CONFIGS.parent / "zoo")]

    entries: list[Callable[[], list[str]]] = [
        arrays,
        pictures,
        zoo,
        denoise,
        lambda: weights("evaluate", "CKPT"),
        lambda: weights("probe", "CKPT"),
        lambda: weights("test", "--config", f"{CONFIGS}/data/digits.yaml", "--ckpt_path", "CKPT"),
        lambda: [*fit("digits"), *weights("--start_from", "CKPT")],
    ]
    return worker().run(folder, dice.choice(entries)())


class Payload:
    """A pickle that leaves a file where it was read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def payload(folder: Path, number: int) -> str:
    """A pickle with code in it, in place of a file that a command takes; its code does not run."""
    inside = {"state_dict": {}, "hyper_parameters": Payload(), "global_step": 0}
    kinds: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(pickle.dumps(Payload())),
        lambda path: torch.save(inside, path),
        lambda path: path.write_bytes(_npz(train_images=np.array([Payload()]), test_images=np.array([Payload()]))),
        lambda path: _zipped(path),
    ]
    arrays = [part for name in ("data/arrays", "model/vanilla") for part in ("--config", f"{CONFIGS}/{name}.yaml")]
    commands = [
        ["evaluate", "bad"],
        ["probe", "bad"],
        ["finetune", "bad"],
        ["zoo", "verify", "vanilla.bad", "--source", "."],
        ["test", "--config", f"{CONFIGS}/data/digits.yaml", "--ckpt_path", "bad"],
        ["fit", "--config", "bad"],
        ["fit", *arrays, "--data.path", "bad.npz"],
        ["denoise", "bad", "bad.png", "out.png"],
    ]
    kind, command = kinds[number % len(kinds)], commands[number // len(kinds) % len(commands)]
    for name in ("bad", "bad.npz", "bad.png", "vanilla.bad.yaml", "vanilla.bad.safetensors"):
        kind(folder / name)
    outcome = worker().run(folder, command)
    assert outcome == "refused", (folder / "output.txt").read_text()
    return outcome


def _zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload()))
        archive.writestr("archive/version", "3")


CAMPAIGNS = [
    Campaign("configuration with mistakes", 2000, 500, configuration),
    Campaign("file spoiled", 1000, 150, file),
    Campaign("pickle with code", 32, 32, payload),
]
