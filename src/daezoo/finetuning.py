"""`daezoo finetune`: an encoder and a classifier trained end to end, beside the same network without pretraining."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import Tensor

from daezoo import hardware, runs
from daezoo.checkpoint import AtomicCheckpointIO, read
from daezoo.classifiers import FineTuned, Schedule
from daezoo.corruption import Clean, Corruption, Masking
from daezoo.data.base import SPLITS, DenoisingDataModule
from daezoo.data.splits import Subset
from daezoo.evaluation.features import classes_of, numbered_classes
from daezoo.evaluation.probe import accuracy_of, predicted
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.files import to_json, write_text
from daezoo.hardware import default_precision
from daezoo.hyperparameters import plain
from daezoo.models import DenoisingAutoencoder, StackedDAE
from daezoo.optim import SGD, AdamW, Optimizer
from daezoo.parser import Parser
from daezoo.quiet import quieten
from daezoo.randomness import generator
from daezoo.recording import EpochLines, RunRecorder
from daezoo.report import print_finetuning

PROTOCOL = (
    "finetune-v1: clean test samples in float32, measured once, at the epoch with the best validation accuracy; "
    "Wilson interval"
)
OPTIMIZERS: dict[str, Callable[[float, float], Optimizer]] = {"AdamW": AdamW, "SGD": SGD}
SHORTEST = 50
"""Steps of an epoch at the least: of few samples, as many are drawn, with repetition."""


def parser() -> Parser:
    """The parser of the command line."""
    parser = target_parser("finetune", "Train an encoder and a classifier on it end to end.")
    parser.add_argument("--labels-per-class", type=int | None, help="Training and validation samples of each class.")
    parser.add_subclass_arguments(
        Corruption,
        "corruption",
        required=False,
        help="Corruption of the training inputs; masking of a quarter of the elements if not given.",
    )
    parser.add_argument("--dropout", type=float, default=0.5, help="Of the units of every layer of the encoder.")
    parser.add_argument("--label_smoothing", type=float, default=0.1, help="Share of the target spread over classes.")
    parser.add_argument(
        "--adversarial", type=float, default=0.0, help="Move each input so far, in L2, where its loss rises fastest."
    )
    parser.add_argument("--optimizer", type=Literal["AdamW", "SGD"], default="AdamW")
    parser.add_argument("--lr", type=float, default=5e-4, help="Peak learning rate.")
    parser.add_argument("--schedule", type=Schedule, default="cycle", help="One cycle of the learning rate, or none.")
    parser.add_argument("--weight_decay", type=float, default=1e-2, help="Of the optimizer.")
    parser.add_argument("--max_epochs", type=int, default=60, help="Epochs at the most.")
    parser.add_argument("--patience", type=int, default=20, help="Epochs without a better validation accuracy.")
    parser.add_argument("--seed", type=int, default=0, help="Of order, noise, dropout and the classifier.")
    parser.add_argument("--layers", type=int | None, help="Only so many layers of a stack, from the input up.")
    parser.add_argument("--pretrained", type=bool, default=True, help="Train the network as it was pretrained.")
    parser.add_argument("--scratch", type=bool, default=True, help="Also train the same network without pretraining.")
    precisions = Literal["32-true", "bf16-mixed", "16-mixed"] | None
    parser.add_argument("--precision", type=precisions, help="Of the training; bf16-mixed where a CPU is fast in it.")
    parser.add_argument("--runs", type=str, default="runs", help="Folder that holds the run folders.")
    parser.add_argument("--name", type=str | None, help="Name of the run folder; the next integer if not given.")
    parser.add_argument("--json", action="store_true", help="Print the summary as JSON instead of a table.")
    return parser


def few_labels(data: DenoisingDataModule, classes: dict[str, Tensor], count: int) -> None:
    """Keep so many samples of each class in the training and the validation split, drawn by the data's seed.

    Args:
        data: Whose splits are changed.
        classes: Class numbers of the samples, of each split.
        count: Samples of a class, >= 1; validation keeps fewer where there are fewer.

    Raises:
        ValueError: If a class has fewer training samples.
    """
    smallest = int(classes["train"].bincount().min())
    if not 1 <= count <= smallest:
        raise ValueError(
            f"--labels-per-class must lie between 1 and {smallest:,}, which is what the smallest class has for "
            f"training, got {count}."
        )
    for name in ("train", "valid"):
        order = torch.randperm(len(classes[name]), generator=generator(data.seed, "labels", name))
        of_class = [order[classes[name][order] == number][:count] for number in classes["train"].unique()]
        data.splits[name] = Subset(data.splits[name], torch.cat(of_class))


def accuracy(model: FineTuned, data: DenoisingDataModule) -> tuple[float, tuple[float, float]]:
    """Accuracy on the clean test split and its 95 % interval, in float32."""
    return accuracy_of(*predicted(model.eval().predict, data.splits["test"], model.device))


def classifier(encoder: DenoisingAutoencoder, labels: list[int], options: Namespace) -> FineTuned:
    """The classifier that options describe, on an encoder, for these classes."""
    optimizer = OPTIMIZERS[options.optimizer](options.lr, options.weight_decay)
    return FineTuned(
        encoder, labels, optimizer, options.dropout, options.label_smoothing, options.adversarial, options.schedule
    )


def bottom(model: DenoisingAutoencoder, layers: int | None) -> DenoisingAutoencoder:
    """The first layers of a stack; the model itself if None.

    Raises:
        ValueError: If it is no stack, or has fewer layers.
    """
    if layers is None:
        return model
    if not isinstance(model, StackedDAE):
        raise ValueError(f"--layers is for stacked models, not for a {type(model).__name__}.")
    return model.bottom(layers)


def train(
    encoder: DenoisingAutoencoder, data: DenoisingDataModule, labels: list[int], options: Namespace, folder: Path
) -> dict[str, Any]:
    """Train a classifier on an encoder, and measure the best of its epochs on the test split, once.

    Args:
        encoder: Where the training starts; it is trained itself.
        data: Trained on with its own corruption, validated and tested clean.
        labels: The classes.
        options: As parsed.
        folder: Where metrics.csv and checkpoints/ go.

    Returns:
        `accuracy`, its 95 % `interval` and `error` on the test split, `valid_accuracy`, `epochs`, `seconds`.
    """
    L.seed_everything(options.seed, verbose=False)
    model = classifier(encoder, labels, options).train()
    recorder = RunRecorder(every_n_steps=None)
    recorder.folder = folder
    best = ModelCheckpoint(folder / "checkpoints", "best", monitor="val/accuracy", mode="max", save_weights_only=True)
    callbacks: list[Callback] = [recorder, best, EarlyStopping("val/accuracy", mode="max", patience=options.patience)]
    if not options.json:
        callbacks.append(EpochLines(("train/loss", "val/loss", "val/accuracy")))
    device = torch.device(options.device)
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=options.precision,
        max_epochs=options.max_epochs,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    try:
        trainer.fit(model, datamodule=data)
    except SystemExit:  # Lightning's answer to Ctrl-C, and to SIGTERM
        print(f"Interrupted. A fine-tuning cannot go on; {folder.parent} is not finished.", file=sys.stderr)
        raise SystemExit(130) from None
    model.load_state_dict(read(Path(best.best_model_path))["state_dict"])
    right, interval = accuracy(model.to(device), data)
    return {
        "accuracy": right,
        "interval": interval,
        "error": 1 - right,
        "valid_accuracy": float(best.best_model_score or 0),
        "epochs": trainer.current_epoch,
        "seconds": round(recorder.timings["seconds"], 1),
    }


def run(args: list[str]) -> None:
    """Fine-tune, and print a table or JSON.

    Args:
        args: The command line, without the command.
    """
    quieten()
    options = parse(parser(), args)
    if min(options.max_epochs, options.patience, options.seed + 1) < 1:
        raise ValueError(
            f"max_epochs and patience must be at least 1 and the seed at least 0, got {options.max_epochs}, "
            f"{options.patience} and {options.seed}."
        )
    target = open_target(options)
    data, path = target.data, target.path
    runs.commit()  # of the code that is loaded, whatever comes later
    target.model.classifier, target.model.labels = None, ()  # another one is trained
    options.corruption = options.corruption or Masking(0.25)
    options.precision = options.precision or default_precision(torch.device(options.device).type)
    data.seed = options.seed
    data.corruption, data.evaluation_corruption = options.corruption, Clean()
    data.augmentation = []
    _, classes = numbered_classes(data)
    if options.labels_per_class is not None:
        few_labels(data, classes, options.labels_per_class)
    split = data.splits["train"]
    data.batch_size = min(data.batch_size, len(split))
    if len(split) < SHORTEST * data.batch_size:
        data.splits["train"] = Subset(split, torch.arange(len(split)), SHORTEST * data.batch_size)
    labels = classes_of(data.splits["train"]).unique().tolist()
    starts = {"pretrained": lambda: target.model, "scratch": target.untrained}
    starts = {name: start for name, start in starts.items() if options[name]}
    if not starts:
        raise ValueError("--pretrained false and --scratch false leave nothing to train.")
    # which says what is wrong with them before anything is written
    classifier(bottom(target.model, options.layers), labels, options)
    if not all(part.isfinite().all() for part in target.model.parameters()):
        raise ValueError(f"The weights of {target.name} are not all finite: its training went wrong.")
    kind = type(target.model).__name__.removesuffix("DAE").lower()
    folder = runs.claim(Path(options.runs) / f"finetune-{kind}-{target.data_name}", options.name, "or delete it")
    lock = runs.lock(folder)
    described = {key: plain(value) for key, value in vars(options).items() if key not in ("data", "json")}
    described |= {"target": str(path.resolve()), "data": plain(dict(data.hparams))}
    # the command as it was given, the target first, as in the run folders of fit
    others = list(args)
    others.remove(options.target)
    command = " ".join(shlex.join(["daezoo", "finetune", options.target, *others]).splitlines())
    write_text(folder / "config.yaml", f"# {command}\n{yaml.safe_dump(described, sort_keys=False)}")
    results = {}
    for name, start in starts.items():
        if not options.json:
            print(f"Training {kind}, {name}, on {len(split):,} samples, in {folder / name}", flush=True)
        results[name] = train(bottom(start(), options.layers), data, labels, options, folder / name)
    summary = {
        "target": target.name,
        "model": kind,
        "data": target.data_name,
        "seed": options.seed,
        "samples": {name: len(data.splits[name]) for name in SPLITS},
        "protocol": PROTOCOL,
        "device": options.device,
        "hardware": hardware.describe(options.device),
        "precision": options.precision,
        "labels": labels,
        "commit": runs.commit(),
    } | results
    runs.write_summary(folder, summary)
    os.close(lock)
    if options.json:
        print(to_json(summary))
    else:
        print_finetuning(summary)
        print(f"{folder}: {', '.join(['summary.json', *(f'{name}/checkpoints/best.ckpt' for name in results)])}")
