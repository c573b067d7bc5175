"""Shapes in type hints are checked at run time in the modules of pure tensor functions."""

import os
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import yaml
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from daezoo.batch import Sample
    from daezoo.data import DenoisingDataModule
    from daezoo.data.splits import Split
    from daezoo.models import DenoisingAutoencoder

# small tensors: one thread is faster, and tests that run side by side do not fight over the cores
os.environ["OMP_NUM_THREADS"] = "1"

HOOK = install_import_hook(
    ["daezoo.augmentation", "daezoo.corruption", "daezoo.likelihoods", "daezoo.losses", "daezoo.networks"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
VARIANTS = ("autoencoder", "contractive", "dncnn", "drunet", "ffdnet", "sparse", "walkback")
"""Configurations of a model that has a simpler one of its own."""
FAMILIES = ("vanilla", "stacked", "conv", "residual")
"""Configurations of which the others are relatives or variants."""
ALL_MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))
MODELS = [name for name in ALL_MODELS if name not in VARIANTS]


def fit_arguments(model: str, data: str, *others: str) -> list[str]:
    """The command line that `make train` would run, without pictures: they take longer than a small training."""
    files = (CONFIGS / "trainer.yaml", CONFIGS / "data" / f"{data}.yaml", CONFIGS / "model" / f"{model}.yaml")
    return ["fit", *(part for file in files for part in ("--config", str(file))), "--pictures", "false", *others]


def whole(split: "Split") -> "Sample":
    """All samples of a split, in order."""
    import torch

    return split.__getitems__(torch.arange(len(split)))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; what a command writes lands here."""
    monkeypatch.chdir(tmp_path)
    for name in ("DAEZOO_DATA", "DAEZOO_SOURCE", "DAEZOO_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    if "DAEZOO_CACHE" not in os.environ:  # else a fixture has chosen one
        monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "zoo-cache"))
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], ModuleType]:
    """Load a module again, without the checks of types that would speak before its own errors."""

    def load(module: ModuleType) -> ModuleType:
        spec = spec_from_file_location("unchecked", str(module.__file__))
        assert spec is not None and spec.loader is not None
        again = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "unchecked", again)
        spec.loader.exec_module(again)
        return again

    return load


@pytest.fixture
def daezoo_command(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a daezoo command line in this process; exit status, stdout, stderr."""
    from daezoo.cli import main

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(list(args))
        except SystemExit as exit:
            status = int(exit.code or 0)
        return status, *capsys.readouterr()

    return run


def build(model: str, **arguments: object) -> tuple["DenoisingAutoencoder", "DenoisingDataModule"]:
    """The model of a shipped configuration and the digits it would train on."""
    from daezoo.checkpoint import rebuild
    from daezoo.data import DenoisingDataModule
    from daezoo.models import DenoisingAutoencoder

    path = CONFIGS / "model" / f"{model}.yaml"
    config = yaml.safe_load(path.read_text())
    data = {"_class_path": "daezoo.data.DigitsData", "batch_size": 32, **config["data"]["init_args"]}
    hyperparameters = {"_class_path": config["model"]["class_path"], **config["model"]["init_args"], "shape": [1, 8, 8]}
    return rebuild(path, hyperparameters | arguments, DenoisingAutoencoder), rebuild(path, data, DenoisingDataModule)
