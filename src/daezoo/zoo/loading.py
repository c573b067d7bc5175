"""Pretrained models as modules: from verified bytes, strictly."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from daezoo import checkpoint
from daezoo.checkpoint import load_model, rebuild
from daezoo.models import DenoisingAutoencoder
from daezoo.zoo.download import Progress
from daezoo.zoo.entry import NAME, Entry, ZooError
from daezoo.zoo.source import find


def hyperparameters(entry: Entry) -> dict[str, Any]:
    """The model's hyperparameters as a checkpoint keeps them."""
    return {**entry.model.init_args, "_class_path": entry.model.class_path}


def data_hyperparameters(entry: Entry) -> dict[str, Any]:
    """Those of the data module that it was trained with."""
    return {**entry.data.init_args, "_class_path": entry.data.class_path}


def tensors_of(content: bytes, entry: Entry) -> dict[str, Tensor]:
    """The weights that a file holds, in float32: exactly those of the entry's model.

    Args:
        content: The file, whose digest was verified.
        entry: Says what they have to be.

    Raises:
        ZooError: If it is no safetensors file, or its tensors are not finite, or not those of the model in name, shape
            or type.
    """
    where = f"The weights of {entry.name}"
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        pickled = content[:2] == b"PK" or content[:1] == b"\x80"
        hint = " It is a pickle or a zip archive, which is never read." if pickled else ""
        raise ZooError(f"{where} are no safetensors file: {error}.{hint}") from None
    expected = _skeleton(entry)
    lacking, strange = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if lacking or strange:
        raise ZooError(
            f"{where} do not fit {entry.model.class_path}: missing {', '.join(sorted(lacking)) or 'nothing'}; "
            f"unexpected {', '.join(sorted(strange)) or 'nothing'}."
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        dtype = getattr(torch, entry.weights.dtype) if wanted.is_floating_point() else wanted.dtype
        if tensor.shape != wanted.shape or tensor.dtype != dtype:
            raise ZooError(
                f"{where} do not fit {entry.model.class_path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"expected {dtype} {tuple(wanted.shape)}."
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ZooError(f"{where} are not all finite: {name} has NaN or infinite values.")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _skeleton(entry: Entry) -> dict[str, Tensor]:
    """The tensors that the entry's model has, without their memory: a large model that is a lie costs nothing."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            model = rebuild(Path(entry.name), hyperparameters(entry), DenoisingAutoencoder)
            if list(model.shape) != entry.input.shape:
                raise ZooError(
                    f"The entry {entry.name} says shape {entry.input.shape}, but its model {list(model.shape)}."
                )
            if entry.classifier:
                width = model.encode(torch.zeros(1, *model.shape)).shape[1]
                model.add_classifier(entry.classifier.labels, width)
    except (ValueError, RuntimeError, IndexError) as error:
        raise error if isinstance(error, ZooError) else ZooError(str(error)) from None
    return model.state_dict()


def as_checkpoint(
    name: str, source: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    """A pretrained model as a checkpoint's contents, so that all that judges runs can judge it.

    Args:
        name: As for `find`.
        source: Likewise.
        progress: Told how many bytes are there.

    Returns:
        What it is called, as a path, and the contents.

    Raises:
        ZooError: If it cannot be had, or is not what its entry says.
    """
    entry, place = find(name, source)
    low, high = entry.input.low, entry.input.high
    return Path(entry.name), {
        "state_dict": tensors_of(place.weights(entry, progress), entry),
        "hyper_parameters": hyperparameters(entry),
        "datamodule_hyper_parameters": data_hyperparameters(entry),
        "labels": entry.classifier.labels if entry.classifier else [],
        "global_step": entry.training.steps,
        "value_range": None if low is None or high is None else (low, high),
    }


def is_name(target: str | os.PathLike[str]) -> bool:
    """Whether something names a pretrained model, not a run or a checkpoint; what exists as a path is one of these."""
    path = Path(target)
    if path.suffix in (".yaml", ".safetensors") or str(target).startswith("hf://"):
        return True
    return NAME.fullmatch(str(target)) is not None and path.suffix != ".ckpt" and not path.exists()


def open_target(target: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> tuple[Path, dict]:
    """The contents of a run folder's checkpoint, a checkpoint, or a pretrained model, and its path or name.

    Raises:
        ValueError: If there is nothing there, or it is not readable.
    """
    if is_name(target):
        return as_checkpoint(os.fspath(target), source)
    path = checkpoint.locate(Path(target))
    return path, checkpoint.read(path)


def load(
    target: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    source: str | os.PathLike[str] | None = None,
) -> DenoisingAutoencoder:
    """Load a model in eval mode, ready to `encode` and `denoise`.

    Weights are verified by length and sha256 every time, read from safetensors alone, and have to fit exactly.

    Args:
        target: The name of a pretrained model, family.tag; the path of an entry's .yaml or .safetensors; hf://ORG/REPO
            with one entry; a run folder, or a checkpoint.
        device: Where it is wanted.
        source: Where to look for a name, and nowhere else: a folder, file://, https://, hf://ORG/REPO, s3://, or
            anything that fsspec opens. If None, the environment's DAEZOO_SOURCE; without it, what comes with the
            package, beside the entry, in the cache (DAEZOO_CACHE), or at the entry's urls.

    Raises:
        ValueError: If there is nothing there, it cannot be had, or it is not what it should be; a ZooError where it is
            a pretrained model.
    """
    path, contents = open_target(target, source)
    return load_model(path, contents).to(device)


def to_bytes(state: dict[str, Tensor], dtype: torch.dtype, metadata: dict[str, Any]) -> bytes:
    """A state dict as a safetensors file.

    Args:
        state: The tensors.
        dtype: Of those in floating point.
        metadata: Kept in the file's header, as JSON.
    """
    plain = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in state.items()
    }
    return safetensors.torch.save(plain, {"daezoo": json.dumps(metadata, sort_keys=True)})
