"""Shapes in type hints are checked at run time in the modules of pure tensor functions."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

HOOK = install_import_hook(
    ["daezoo.augmentation", "daezoo.corruption", "daezoo.losses", "daezoo.networks"], "beartype.beartype"
)

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))


def fit_arguments(model: str, data: str, *others: str) -> list[str]:
    """The command line that `make train` would run."""
    files = (CONFIGS / "trainer.yaml", CONFIGS / "data" / f"{data}.yaml", CONFIGS / "model" / f"{model}.yaml")
    return ["fit", *(part for file in files for part in ("--config", str(file))), *others]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; what a command writes lands here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAEZOO_DATA", raising=False)
    return tmp_path


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


os.environ.setdefault("WANDB_MODE", "offline")
