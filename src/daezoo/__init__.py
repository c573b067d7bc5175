"""Denoising autoencoders on PyTorch Lightning. Names are imported when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daezoo.zoo.loading import load
    from daezoo.zoo.publish import push_to_hub
    from daezoo.zoo.source import info, list_models

__version__ = "0.1.0"
__all__ = ["__version__", "info", "list_models", "load", "push_to_hub"]

HOMES = {
    "info": "daezoo.zoo.source",
    "list_models": "daezoo.zoo.source",
    "load": "daezoo.zoo.loading",
    "push_to_hub": "daezoo.zoo.publish",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
