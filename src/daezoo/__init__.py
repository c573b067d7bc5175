"""Denoising autoencoders on PyTorch Lightning. Names are imported when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daezoo.checkpoint import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("daezoo.checkpoint").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
