"""Code in files: in pickles, in YAML tags, in class paths. It is refused, and does not run."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import warm
import yaml
from fuzz_configs import CONFIGS
from fuzz_files import FEW, SHORT, ZOO, archive, fit, run_of
from mutations import SYSTEM

COMMAND = "touch ran"
TAG = f"!!python/object/apply:os.system ['{COMMAND}']"
NAME = "vanilla.digits-mask25"


class Payload:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (COMMAND,)


def _saved(**parts: Any) -> bytes:
    """A checkpoint as torch writes it, with some of its parts replaced."""
    whole = torch.load(run_of("digits") / "checkpoints" / "last.ckpt", weights_only=True)
    file = io.BytesIO()
    torch.save(whole | parts, file)
    return file.getvalue()


def _archived() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("archive/data.pkl", pickle.dumps(Payload(), 2))
        opened.writestr("archive/version", "3")
    return file.getvalue()


def _arrays() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Payload()] * 20, object), allow_pickle=True)
    return archive({name: file.getvalue() for name in ("train_images.npy", "test_images.npy")})


PAYLOADS: dict[str, Callable[[], bytes]] = {
    "pickle": lambda: pickle.dumps(Payload()),
    "pickle of protocol 2": lambda: pickle.dumps({"state_dict": Payload(), "hyper_parameters": {}}, 2),
    "archive": _archived,
    "old torch": lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps(Payload(), 2),
    "hyperparameters": lambda: _saved(hyper_parameters=Payload()),
    "argument": lambda: _saved(hyper_parameters={"_class_path": "daezoo.models.VanillaDAE", "shape": Payload()}),
    "state": lambda: _saved(callbacks={"x": Payload()}),
    "arrays": _arrays,
}
"""Files that run a command when they are unpickled."""
READERS: dict[str, tuple[str, list[str]]] = {
    "evaluate": ("bad.ckpt", ["evaluate", "bad.ckpt"]),
    "probe": ("bad.ckpt", ["probe", "bad.ckpt"]),
    "finetune": ("bad.ckpt", ["finetune", "bad.ckpt"]),
    "report": ("run/checkpoints/last.ckpt", ["report", "run"]),
    "resume": ("run/checkpoints/last.ckpt", ["fit", "--resume", "run", "--trainer.max_steps", "2"]),
    "export": ("run/checkpoints/last.ckpt", ["zoo", "export", "run", "--name", "vanilla.x", "--dest", "mine"]),
    "test": ("bad.ckpt", ["test", "--config", f"{CONFIGS}/data/digits.yaml", "--ckpt_path", "bad.ckpt"]),
    "start": ("bad.ckpt", [*fit("digits", *FEW, *SHORT), "--start_from", "bad.ckpt"]),
    "denoise": ("bad.ckpt", ["denoise", "bad.ckpt", "hole.png", "out.png"]),
    "inpaint": ("bad.ckpt", ["inpaint", "bad.ckpt", "picture.png", "hole.png", "out.png"]),
    "picture": ("bad.png", ["denoise", "RESTORER", "bad.png", "out.png"]),
    "arrays": ("mine.npz", fit("arrays", "--data.path", "mine.npz", *FEW, *SHORT)),
    "mapped arrays": ("mine/train_images.npy", fit("arrays", "--data.path", "mine", *FEW, *SHORT)),
    "CIFAR-10": (
        "data/cifar-10-batches-py/data_batch_1",
        fit("cifar10", "--data.root", "data", *FEW, *SHORT),
    ),
    "MNIST": ("data/MNIST/raw/train-images-idx3-ubyte", fit("mnist", "--data.root", "data", *FEW, *SHORT)),
    "shards": ("mine/train/index.json", fit("shards", "--data.path", "mine", *FEW, *SHORT)),
    "configuration": ("mine.yaml", [*fit("digits", *FEW, *SHORT), "--config", "mine.yaml"]),
    "zoo entry": (f"mine/{NAME}.yaml", ["zoo", "verify", NAME, "--source", "mine"]),
    "zoo weights": (f"mine/{NAME}.safetensors", ["zoo", "verify", NAME, "--source", "mine"]),
    "zoo import": (f"mine/{NAME}.safetensors", ["zoo", "import", "mine"]),
    "weights": (f"mine/{NAME}.safetensors", ["evaluate", f"mine/{NAME}.safetensors"]),
}
"""Files that commands read, and the commands."""


def _tagged(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


def _entry() -> str:
    return (ZOO / f"{NAME}.yaml").read_text()


TEXTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tag in a configuration": ("configuration", lambda: f"model:\n  init_args:\n    hidden: {TAG}\n".encode()),
    "class path in a configuration": ("configuration", lambda: yaml.safe_dump({"model": SYSTEM}).encode()),
    "argument's class path": (
        "configuration",
        lambda: yaml.safe_dump({"data": {"init_args": {"corruption": SYSTEM}}}).encode(),
    ),
    "callback's class path": ("configuration", lambda: yaml.safe_dump({"trainer": {"callbacks": [SYSTEM]}}).encode()),
    "tag in an entry": ("zoo entry", lambda: _tagged(_entry(), "description:", f"description: {TAG} #")),
    "class path in an entry": (
        "zoo entry",
        lambda: _tagged(_entry(), "daezoo.models.VanillaDAE", "os.system"),
    ),
    "class path in a checkpoint": ("evaluate", lambda: _saved(hyper_parameters={"_class_path": "os.system"})),
    "class path in a checkpoint's argument": (
        "evaluate",
        lambda: _saved(hyper_parameters={"_class_path": "daezoo.models.VanillaDAE", "shape": [6], "loss": SYSTEM}),
    ),
    "instantiator in a checkpoint": (
        "test",
        lambda: _saved(hyper_parameters={"_instantiator": "os.system", "_class_path": "os.system", "command": COMMAND}),
    ),
}
"""What asks for a command in words, and what reads it."""


def _cases() -> list[tuple[Callable[[], bytes], str]]:
    return [*product(PAYLOADS.values(), READERS), *((make, reader) for reader, make in TEXTS.values())]


def code(folder: Path, number: int) -> str:
    """A file with code in it, where a command expects another one."""
    make, reader = _cases()[number]
    name, args = READERS[reader]
    shutil.copytree(run_of("digits"), folder / "run")
    (folder / "run" / "summary.json").unlink()
    (folder / "mine" / "train").mkdir(parents=True)
    for suffix in ("yaml", "safetensors"):
        shutil.copy(ZOO / f"{NAME}.{suffix}", folder / "mine")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(make())
    if reader == "shards":  # an index that names a pickle
        spec = [1, {"type": "builtins.dict", "context": '["image"]', "children_spec": []}]
        config = {"data_format": ["pickle"], "data_spec": json.dumps(spec)}
        (folder / name).write_text(json.dumps({"chunks": [], "config": config}))
    outcome = warm.run(folder, [str(run_of("denoises")) if arg == "RESTORER" else arg for arg in args])
    assert outcome == "refused", (args, (folder / "stdout").read_text())
    return outcome


TRIES = len(PAYLOADS) * len(READERS) + len(TEXTS)
