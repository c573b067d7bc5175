"""Checkpoints: written whole or not at all, read without unpickling anything."""

import sys
import warnings
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeVar, get_type_hints

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from daezoo.files import write_atomically
from daezoo.models import DenoisingAutoencoder

Module = TypeVar("Module")


class _Contents(BaseModel):
    """What is looked at in a checkpoint; there is more."""

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)
    state_dict: dict[str, torch.Tensor]
    hyper_parameters: dict[str, Any]
    datamodule_hyper_parameters: dict[str, Any] = {}
    labels: list[int] = []
    global_step: int = 0
    loops: dict[str, Any] = {}
    callbacks: dict[str, Any] = {}


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
    try:
        _Contents.model_validate(checkpoint)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise ValueError(f"{path} is no checkpoint of a daezoo model: in {place}, {wrong['msg']}.") from None
    return checkpoint


def rebuild(path: Path, hyperparameters: dict[str, Any], base: type[Module]) -> Module:
    """Build the object that hyperparameters describe, if its class is a known subclass of `base`.

    What they say may come from anywhere, so nothing is imported for it but modules of daezoo, no string is taken for
    anything but a string, and arguments that are objects have to be dataclasses, as losses and corruptions are.

    Raises:
        ValueError: If a class is not known, or arguments do not fit.
    """
    class_path = str(hyperparameters.get("_class_path"))
    found = _class_of(path, class_path)
    if not issubclass(found, base):
        raise ValueError(f"{path} is of class {class_path}, which is no {base.__name__}.")
    return _made(path, found, {name: value for name, value in hyperparameters.items() if not str(name).startswith("_")})


def _made(path: Path, found: type[Module], arguments: dict[str, Any]) -> Module:
    """An object of a class, its arguments checked against the constructor's annotations."""
    built = {name: _built(path, value) for name, value in arguments.items()}
    hints: dict[str, Any] = {}
    for one in reversed(found.__mro__):  # a constructor that takes **kwargs passes them on
        hints |= get_type_hints(vars(one)["__init__"]) if "__init__" in vars(one) else {}
    try:
        for name in built.keys() & hints.keys():
            annotated = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True))
            built[name] = annotated.validate_python(built[name])
        return found(**built)
    except Exception as error:
        raise ValueError(f"{path} does not fit {found.__module__}.{found.__qualname__}: {error}") from error


def _class_of(path: Path, class_path: str) -> type:
    module, _, name = class_path.rpartition(".")
    if module.startswith("daezoo.") and "._" not in class_path:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"{path} is of class {class_path}, which this version of daezoo does not have.") from error
    found = getattr(sys.modules.get(module), name, None)
    if not isinstance(found, type):
        raise ValueError(
            f"{path} is of class {class_path}, which is not known. If it is your own class, import its module first."
        )
    return found


def _built(path: Path, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_built(path, item) for item in value]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {key: _built(path, item) for key, item in value.items()}
    class_path = str(value["class_path"])
    found = _class_of(path, class_path)
    arguments = value.get("init_args") or {}
    if not is_dataclass(found) or value.keys() - {"class_path", "init_args"} or not isinstance(arguments, dict):
        raise ValueError(f"{path} has an argument of class {class_path}, which is none of a model or its data.")
    return _made(path, found, arguments)


def load_model(path: Path, checkpoint: dict[str, Any]) -> DenoisingAutoencoder:
    """The model of a checkpoint, in eval mode, weights loaded strictly.

    Raises:
        ValueError: If class, arguments or weights do not fit.
    """
    if "classifier" in checkpoint["hyper_parameters"]:
        raise ValueError(f"{path} is a classifier, for daezoo.classifiers.load_classifier.")
    with torch.random.fork_rng(devices=[]):  # the initial weights are drawn in vain
        model = rebuild(path, checkpoint["hyper_parameters"], DenoisingAutoencoder)
    try:
        if checkpoint.get("labels"):
            model.add_classifier(checkpoint["labels"], checkpoint["state_dict"]["classifier.weight"].shape[1])
        model.load_state_dict(checkpoint["state_dict"], strict=True)
    except (RuntimeError, LookupError) as error:
        raise ValueError(f"The weights of {path} do not fit {type(model).__name__}: {error}") from error
    data = checkpoint.get("datamodule_hyper_parameters", {"whiten": True})
    # what every data module yields, unless it whitens or its samples are rows of a table or points of a density
    unit = None if data.get("whiten") or {"columns", "density"} & data.keys() else (0.0, 1.0)
    model.value_range = checkpoint.get("value_range", unit)
    return model.eval()
