"""Hyperparameters that a checkpoint can hold as plain data, and be read from without unpickling anything."""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin


def plain(value: Any) -> Any:
    """`value` in JSON's types: a dataclass becomes its class path and arguments, as in a configuration file."""
    if is_dataclass(value) and not isinstance(value, type):
        arguments = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": arguments}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class PlainHyperparameters(HyperparametersMixin):
    """Makes `save_hyperparameters()` keep plain data, whether the command line or Python built the object."""

    def save_hyperparameters(self, *args: Any, **kwargs: Any) -> None:
        """As Lightning's, then in plain data and with the class path: what LightningCLI itself would have kept."""
        frame = inspect.currentframe()
        kwargs.setdefault("frame", frame.f_back if frame else None)
        super().save_hyperparameters(*args, **kwargs)
        if "_instantiator" not in self.hparams:
            self.hparams["_class_path"] = f"{type(self).__module__}.{type(self).__qualname__}"
            self.hparams["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
        self.hparams.update(plain(dict(self.hparams)))
        self._hparams_initial = deepcopy(self._hparams)
