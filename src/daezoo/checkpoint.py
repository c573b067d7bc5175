"""Checkpoints: written whole or not at all, read without unpickling anything."""

import sys
import warnings
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.cli import instantiate_module

from daezoo.files import write_atomically
from daezoo.models import DenoisingAutoencoder

Module = TypeVar("Module")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints beside their target, fsyncs, renames; reads them with weights_only=True."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; a kill at any time leaves the old one, or none."""

        def write(file: IO[bytes]) -> None:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # on a full disk torch's own clean-up fails too, and hides why
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

        write_atomically(Path(path), write)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        """Read a checkpoint; `weights_only` is always true, whatever is asked for."""
        return read(Path(path))


def locate(target: str | Path) -> Path:
    """The checkpoint of a run folder, or of a path that is one.

    Raises:
        ValueError: If there is no such file or folder, or the run has no checkpoint yet.
    """
    path = Path(target)
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt"
        if not path.is_file():
            raise ValueError(f"The folder {target} has no checkpoint: there is no file {path}. Is it a run folder?")
    if not path.is_file():
        raise ValueError(f"There is no checkpoint or run folder {target}.")
    return path


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, tensors on the CPU.

    Raises:
        ValueError: If the file is no checkpoint of a denoising autoencoder.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # torch on pickles that are not its own
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} is no readable checkpoint: {error.strerror or error}") from None
    except Exception:  # a file of another kind breaks the reader in many ways, whose reasons say nothing
        raise ValueError(
            f"{path} is no readable checkpoint: damaged, or not plain tensors and data as torch.save writes them."
        ) from None
    keys = {"state_dict", "hyper_parameters"}
    lacking = keys - (checkpoint.keys() if isinstance(checkpoint, dict) else set())
    if lacking:
        raise ValueError(f"{path} is no checkpoint of a daezoo model: it lacks {' and '.join(sorted(lacking))}.")
    return checkpoint


def rebuild(path: Path, hyperparameters: dict[str, Any], base: type[Module]) -> Module:
    """Build the object that hyperparameters describe, if its class is a known subclass of `base`.

    Raises:
        ValueError: If the class is not known, or its arguments do not fit.
    """
    # a deep copy, because the parser puts its own types into what it is given
    config = deepcopy({key: value for key, value in hyperparameters.items() if key != "_instantiator"})
    class_path = str(config.get("_class_path"))
    module, _, name = class_path.rpartition(".")
    if module.startswith("daezoo."):
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"{path} is of class {class_path}, which this version of daezoo does not have.") from error
    found = getattr(sys.modules.get(module), name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f"{path} is of class {class_path}, which is no known {base.__name__}. "
            "If it is your own class, import its module first."
        )
    try:
        return instantiate_module(base, config)
    except Exception as error:
        raise ValueError(f"{path} does not fit {class_path}: {error}") from error


def load_model(path: Path, checkpoint: dict[str, Any]) -> DenoisingAutoencoder:
    """The model of a checkpoint, in eval mode, weights loaded strictly.

    Raises:
        ValueError: If class, arguments or weights do not fit.
    """
    if "classifier" in checkpoint["hyper_parameters"]:
        raise ValueError(f"{path} is a classifier, for daezoo.classifiers.load_classifier.")
    model = rebuild(path, checkpoint["hyper_parameters"], DenoisingAutoencoder)
    try:
        model.load_state_dict(checkpoint["state_dict"], strict=True)
    except RuntimeError as error:
        raise ValueError(f"The weights of {path} do not fit {type(model).__name__}: {error}") from error
    return model.eval()


def load(target: str | Path, device: str | torch.device = "cpu") -> DenoisingAutoencoder:
    """Load a trained model, ready to `encode` and `denoise`.

    Args:
        target: A run folder, or a checkpoint.
        device: Where it is wanted.

    Raises:
        ValueError: If there is nothing there, or it is no checkpoint of a denoising autoencoder.
    """
    path = locate(target)
    return load_model(path, read(path)).to(device)
