"""`daezoo evaluate`: reconstruction error of a run or a checkpoint."""

from pathlib import Path

import torch
from jsonargparse import Namespace

from daezoo.checkpoint import load_model, locate, read, rebuild
from daezoo.corruption import Corruption
from daezoo.data.base import DenoisingDataModule
from daezoo.errors import Parser
from daezoo.evaluation.restoration import PROTOCOL, evaluate
from daezoo.files import to_json
from daezoo.report import print_restoration


def parse(args: list[str]) -> Namespace:
    """The parsed command line."""
    parser = Parser(prog="daezoo evaluate", description="Reconstruction error on the test split.")
    parser.add_argument("target", type=str, help="A run folder or a checkpoint.")
    parser.add_subclass_arguments(
        Corruption, "corruption", required=False, help="Another corruption than the trained one."
    )
    parser.add_argument("--level", type=float | None, help="Another noise level: sigma or ratio.")
    parser.add_argument(
        "--root", type=str | None, help="Where the data is, if not where it was: as --data.root or .path."
    )
    parser.add_argument("--batch_size", type=int | None, help="Samples at a time; the numbers do not depend on it.")
    parser.add_argument(
        "--device", type=str, default="cuda" if torch.cuda.is_available() else "cpu", help="Where to run."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    return parser.instantiate(parser.parse_args(args))


def rebuild_data(path: Path, checkpoint: dict, root: str | None, batch_size: int | None) -> DenoisingDataModule:
    """The data module that a checkpoint was trained with.

    Raises:
        ValueError: If the checkpoint does not say.
    """
    if "datamodule_hyper_parameters" not in checkpoint:
        raise ValueError(
            f"{path} does not say what data it was trained on: it was trained without a daezoo data module."
        )
    config = dict(checkpoint["datamodule_hyper_parameters"])
    if root is not None:
        key = next((key for key in ("path", "root") if key in config), None)
        if key is None:
            raise ValueError(f"{config.get('_class_path')} reads no files, so --root does not apply.")
        config[key] = root
    if batch_size is not None:
        config["batch_size"] = batch_size
    return rebuild(path, config, DenoisingDataModule)


def run(args: list[str]) -> None:
    """Evaluate, and print a table or JSON.

    Args:
        args: The command line, without the command.
    """
    options = parse(args)
    path = locate(options.target)
    checkpoint = read(path)
    model = load_model(path, checkpoint).to(options.device)
    data = rebuild_data(path, checkpoint, options.root, options.batch_size)
    corruption = options.corruption or data.evaluation_corruption
    if options.level is not None:
        corruption = corruption.at(options.level)
    data.prepare_data()
    data.setup("test")
    metrics = evaluate(model, data.evaluation_batches("test", corruption), data.splits["train"].mean())
    if options.json:
        described = {
            "target": options.target,
            "model": type(model).__name__,
            "data": type(data).__name__,
            "corruption": str(corruption),
            "samples": len(data.splits["test"]),
            "protocol": PROTOCOL,
        }
        print(to_json(described | metrics))
    else:
        print_restoration(metrics, type(model).__name__, len(data.splits["test"]), corruption)
