"""A configuration file with mistakes through `daezoo fit`: an error of ours or a valid run, never a traceback."""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import warm
import yaml
from mutations import misspelt, mistaken

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DATA: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 8},
    "shapes": {"kind": "rectangles", "batch_size": 8, "train": 60, "valid": 20, "test": 20},
    "photographs": {"batch_size": 2, "crop": 16, "crops_per_epoch": 8},
    "patches": {"batch_size": 8, "train": 60, "valid": 20, "test": 20},
    "images": {"batch_size": 2, "crop": 16, "crops_per_epoch": 8},
}
"""Shipped data that needs no files of the user's, and what makes it small."""
MODELS: dict[str, dict[str, Any]] = {
    "vanilla": {"hidden": [8], "penalties": []},
    "stacked": {"hidden": [8, 8, 8]},
    "conv": {"channels": [4], "kernel": 3},
    "residual": {"network": {"init_args": {"widths": [4, 8]}}},
    "dncnn": {"network": {"init_args": {"width": 4, "depth": 3}}},
    "ffdnet": {"network": {"init_args": {"width": 4, "depth": 3}}},
    "drunet": {"network": {"init_args": {"widths": [4, 8], "blocks": 1}}},
}
"""Likewise of models."""
ADDITIONS: dict[tuple[Any, ...], tuple[str, ...]] = {
    ("trainer",): (
        *("limit_train_batches", "accumulate_grad_batches", "gradient_clip_val", "overfit_batches", "callbacks"),
        *("val_check_interval", "max_time", "profiler", "deterministic", "benchmark", "inference_mode", "plugins"),
        *("min_epochs", "max_epochs", "check_val_every_n_epoch", "strategy", "accelerator", "logger", "precision"),
        *("reload_dataloaders_every_n_epochs", "gradient_clip_algorithm", "detect_anomaly", "enable_checkpointing"),
    ),
    ("model", "init_args"): (
        *("penalties", "activation", "tied", "shape", "code", "kernel", "condition", "channels_last", "hidden"),
        *("optimizer", "loss", "network", "epochs_per_layer", "code_corruption", "batch_norm", "weight_init"),
    ),
    ("data", "init_args"): (
        *("split_seed", "seed", "whiten", "augmentation", "evaluation_corruption", "resident_gib", "corruption"),
        *("root", "photographs", "kind", "valid", "color", "side", "crop"),
    ),
    (): ("name", "runs", "logger", "compile", "start_from", "resume", "pictures", "checkpoint_every_n_steps", "config"),
}
"""Keys that are not in the shipped files, and may be added to them."""
BOUNDS = {"trainer.devices": 1, "trainer.num_nodes": 1, "data.num_workers": 0, "runs": "runs"}
"""What the command line says in any case: a mistake may start no processes, and write nowhere else."""
SHORT = (
    {"trainer.fast_dev_run": "true"},
    {"trainer.max_steps": 1, "trainer.limit_val_batches": 1, "pictures": "false"},
)


@cache
def shipped(name: str) -> Any:
    """A shipped configuration file."""
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def merged(one: Any, other: Any) -> Any:
    """Two trees in one, in which the second wins."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return one | {key: merged(one.get(key), value) for key, value in other.items()}


def files_of(dice: Random) -> dict[str, Any]:
    """The three files of a small training."""
    data, model = dice.choice(list(DATA)), dice.choice(list(MODELS))
    return {
        "trainer": shipped("trainer"),
        data: merged(shipped(f"data/{data}"), {"data": {"init_args": DATA[data]}}),
        model: merged(shipped(f"model/{model}"), {"model": {"init_args": MODELS[model]}}),
    }


def mutated(dice: Random) -> dict[str, bytes]:
    """The three files, with one to three mistakes in one of them."""
    trees = files_of(dice)
    wrong = dice.choice(list(trees))
    in_tree = dice.random() < 0.75
    for _ in range(dice.choice((1, 1, 2, 3)) if in_tree else 0):
        trees[wrong] = mistaken(trees[wrong], dice, ADDITIONS)
    files = {name: yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode() for name, tree in trees.items()}
    if not in_tree or dice.random() < 0.1:
        files[wrong] = misspelt(files[wrong].decode(), dice)
    return files


def configuration(folder: Path, number: int) -> str:
    """A training of one step by configuration files with mistakes."""
    dice = Random(f"configuration {number}")
    args = ["fit"]
    for name, content in mutated(dice).items():
        (folder / f"{name}.yaml").write_bytes(content)
        args += ["--config", f"{name}.yaml"]
    for name, value in (BOUNDS | dice.choice(SHORT)).items():
        args += [f"--{name}", str(value)]
    return warm.run(folder, args)
