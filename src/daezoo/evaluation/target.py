"""What a command judges: a trained model, and the data it is judged on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from jsonargparse import Namespace

import daezoo.data
from daezoo.checkpoint import load_model, rebuild
from daezoo.data.base import DenoisingDataModule
from daezoo.data.table import TableData
from daezoo.models import DenoisingAutoencoder
from daezoo.parser import Parser
from daezoo.zoo import loading

Model = TypeVar("Model", bound=DenoisingAutoencoder)


class Target(NamedTuple):
    """What is judged, and on what.

    Attributes:
        name: As it was given.
        path: Its checkpoint, or its name in the zoo.
        model: In eval mode, on the device asked for.
        data: Set up.
        seed: That it was trained with; 0 if its checkpoint names none.
        step: Training steps so far.
        trained: Hyperparameters of the data module it was trained with; empty if its checkpoint has none.
        untrained: Builds the model as it was before training: the same architecture, initialised with the same seed.
    """

    name: str
    path: Path
    model: DenoisingAutoencoder
    data: DenoisingDataModule
    seed: int
    step: int
    trained: dict[str, Any]
    untrained: Callable[[], DenoisingAutoencoder]

    @property
    def run(self) -> Path | None:
        """The run folder; None for a checkpoint that is not in one."""
        folder = self.path.parent.parent
        return folder if (folder / "config.yaml").is_file() and self.path.name == "last.ckpt" else None

    @property
    def data_name(self) -> str:
        """The data's short name, as in `--data mnist`."""
        kind = type(self.data).__name__
        return next((name for name, known in data_names().items() if known == kind), kind)


def data_names() -> dict[str, str]:
    """The names of the data modules' classes by their short names, which are those of configs/data."""
    short = {"FashionMNISTData": "fashion_mnist", "MNISTVariationsData": "mnist_variations"}
    kinds = [name for name in daezoo.data.__all__ if name != DenoisingDataModule.__name__]
    return {short.get(kind, kind.removesuffix("Data").lower()): kind for kind in kinds}


def target_parser(command: str, description: str, required: bool = True) -> Parser:
    """A parser with the arguments that `open_target` needs; without a target, where it is not required, None is one."""
    parser = Parser(prog=f"daezoo {command}", description=description)
    parser.add_argument(
        "target",
        type=str if required else str | None,
        nargs=None if required else "?",
        help="A run folder, a checkpoint, or a zoo name such as stacked.mnist-mask25.",
    )
    parser.add_argument("--source", type=str | None, help="Where to look for a zoo name, as for daezoo zoo.")
    parser.add_argument("--batch_size", type=int | None, help="Samples in a batch; those of the run if not given.")
    add_data_arguments(parser)
    return parser


def add_data_arguments(parser: Parser) -> None:
    """Add --data, --root and --device."""
    parser.add_subclass_arguments(
        DenoisingDataModule,
        "data",
        required=False,
        help=f"Other data than a run's own: {', '.join(data_names())}, or a class; its arguments as --data.root DIR.",
    )
    parser.add_argument(
        "--root", type=str | None, help="Where a run's own data is, if not where it was: as --data.root or .path."
    )
    parser.add_argument(
        "--device", type=str, default="cuda" if torch.cuda.is_available() else "cpu", help="Where to run."
    )


def parse(parser: Parser, args: list[str]) -> Namespace:
    """The parsed command line, in which `--data` may be a short name.

    Raises:
        ValueError: If an option does not fit, or both --data and --root are given.
    """
    names = data_names()
    args = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--data=") else [arg])]
    known = [names.get(arg, arg) if before == "--data" else arg for before, arg in zip(["", *args], args, strict=False)]
    options = parser.instantiate(parser.parse_args(known))
    if options.data is not None and options.root is not None:
        raise ValueError("--root is for the data of the run; with --data, say --data.root or --data.path.")
    return options


def open_target(options: Namespace) -> Target:
    """The model and the data that parsed options ask for.

    Raises:
        ValueError: If there is no such model or data, or they do not fit each other.
    """
    path, checkpoint = loading.open_target(options.target, options.source)
    model = on_device(load_model(path, checkpoint), options.device)
    data = options.data or own_data(path, checkpoint, options.root)
    if options.data and "datamodule_hyper_parameters" in checkpoint:
        own = own_data(path, checkpoint, None)
        if data.hparams["corruption"] is None:  # other data, the same noise
            data.corruption = own.corruption
            if data.hparams["evaluation_corruption"] is None:
                data.evaluation_corruption = own.evaluation_corruption
        if isinstance(data, TableData) and isinstance(own, TableData) and data.hparams["columns"] is None:
            data.know(own.columns)
    check_whitening(options.target, checkpoint, data)
    if options.batch_size is not None:
        if options.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {options.batch_size}.")
        data.batch_size = options.batch_size
    trained = checkpoint.get("datamodule_hyper_parameters", {})
    seed = trained.get("seed", 0)
    data.prepare_data()
    data.setup("test")
    try:
        model.check_shape(torch.empty(1, *data.shape, device="meta"))
    except ValueError as error:
        raise ValueError(f"{type(data).__name__} does not fit {options.target}: {error}") from None

    def untrained() -> DenoisingAutoencoder:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return rebuild(path, checkpoint["hyper_parameters"], DenoisingAutoencoder).eval().to(options.device)

    return Target(options.target, path, model, data, seed, checkpoint.get("global_step", 0), trained, untrained)


def check_whitening(name: str, checkpoint: dict, data: DenoisingDataModule) -> None:
    """Check that data is whitened where the training data was, and only there; by its own statistics in any case.

    Raises:
        ValueError: If it is not.
    """
    trained = checkpoint.get("datamodule_hyper_parameters", {"whiten": data.whiten}).get("whiten", False)
    if data.whiten != trained:
        raise ValueError(
            f"{name} was trained on images that were {'' if trained else 'not '}whitened. Pass --data.whiten "
            f"{str(trained).lower()} with --data."
        )


def on_device(model: Model, device: str) -> Model:
    """The model where `--device` wants it.

    Raises:
        ValueError: If there is no such device.
    """
    try:
        return model.to(device)
    except RuntimeError as error:  # of torch
        raise ValueError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from None


def own_data(path: Path, checkpoint: dict, root: str | None) -> DenoisingDataModule:
    """The data module that a checkpoint was trained with.

    Raises:
        ValueError: If the checkpoint does not say.
    """
    if "datamodule_hyper_parameters" not in checkpoint:
        raise ValueError(
            f"{path} does not say what data it was trained on: it was trained without a daezoo data module. "
            "Say it by --data."
        )
    config = dict(checkpoint["datamodule_hyper_parameters"])
    if root is not None:
        key = next((key for key in ("path", "root", "photographs") if key in config), None)
        if key is None:
            raise ValueError(f"{config.get('_class_path')} reads no files, so --root does not apply.")
        config[key] = root
    return rebuild(path, config, DenoisingDataModule)
