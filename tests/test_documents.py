"""Every command and every piece of Python in README.md and CONTRIBUTING.md is run, with small settings."""

import os
import re
import shlex
import subprocess
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer

from conftest import ROOT

SMALL = {
    "stacked": "--model.epochs_per_layer 1 --model.end_to_end_epochs 0 --model.hidden [8,8,8]",
    "residual": "--trainer.max_epochs 1 --model.network.widths [4]",
}


# the tests may have been started by make itself, whose flags must not reach the makes started here
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def made(command: list[str], folder) -> list[str]:
    """The command line that a make command would run, set-up left out."""
    ready = f"{sys.prefix}/.ready"
    dry = ["make", "--dry-run", "--old-file", ready, f"VENV={sys.prefix}", *command[1:]]
    done = subprocess.run(dry, cwd=folder, capture_output=True, text=True, check=True, env=ALONE)
    line = done.stdout.replace("\\\n", " ").strip().splitlines()[-1]
    return shlex.split(line)


@pytest.mark.parametrize("left_out", ["noise-grid", pytest.param(None, marks=pytest.mark.slow)])
def test_every_command_of_the_readme_runs(daezoo_command, workplace, left_out):
    for name in ("Makefile", "configs", "pyproject.toml", "constraints.txt"):
        (workplace / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    images = {f"{split}_images": rng.integers(0, 256, (150, 8, 8), np.uint8) for split in ("train", "test")}
    np.savez(workplace / "my.npz", **images)
    cancers = load_breast_cancer(as_frame=True).data.head(40)
    cancers.mask(rng.random(cancers.shape) < 0.2).to_csv(workplace / "cancers.csv", index=False)
    people = pd.DataFrame(
        {"age": rng.normal(40, 9, 99), "job": rng.choice(["cook", None], 99), "city": ["A", "B", "C"] * 33}
    )
    people.to_csv(workplace / "people.csv", index=False)
    hole = np.zeros((40, 50), np.uint8)
    hole[10:20, 10:30] = 255
    Image.fromarray(hole).save(workplace / "holes.png")
    for name in (
        "scan.png",
        "photo.jpg",
        "holiday/a.png",
        *(f"{kind}/{k}.png" for kind in ("pictures", "noisy") for k in range(10)),
    ):
        (workplace / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(workplace / name)
    commands = [shlex.split(line) for block in blocks("README.md", "bash") for line in block.splitlines()]
    assert len(commands) > 8
    for number, command in enumerate(commands):
        if command[1] == left_out:
            continue
        if command[0] == "make" and command[1] in ("help", "test"):
            # the tests are running already: see that the target reaches pytest
            assert {"help": "digits", "test": "pytest"}[command[1]] in " ".join(made(command, workplace))
            continue
        arguments = made(command, workplace)[1:] if command[0] == "make" else command[1:]
        if arguments[0] == "fit" and "--resume" not in arguments:
            model = next(model for model in ("stacked", "residual", "conv", "vanilla") if model in " ".join(arguments))
            arguments += shlex.split(SMALL.get(model, "--trainer.max_epochs 1"))
            if {"configs/data/images.yaml", "configs/data/pairs.yaml"} & set(arguments):
                arguments += ["--data.crops_per_epoch", "64"]
            arguments += ["--pictures", str(number == 0)]
        status, out, err = daezoo_command(*arguments)
        assert status == 0, (command, err)
        assert out
    for block in blocks("README.md", "python"):
        names: dict[str, object] = {}
        exec(block, names)
        assert {"clean", "codes"} <= names.keys() or {"noisy", "mask"} <= names.keys() or names["accuracy"] > 0.2


def test_the_model_of_contributing_trains(daezoo_command, workplace, monkeypatch):
    module = ModuleType("daezoo.models.linear")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (code,), (config,) = (blocks("CONTRIBUTING.md", language) for language in ("python", "yaml"))
    exec(code, module.__dict__)
    monkeypatch.setattr(sys.modules["daezoo.models"], "linear", module, raising=False)
    (workplace / "linear.yaml").write_text(config)
    files = (ROOT / "configs/trainer.yaml", ROOT / "configs/data/digits.yaml", "linear.yaml")
    arguments = [part for file in files for part in ("--config", str(file))]
    status, _, err = daezoo_command("fit", *arguments, "--trainer.max_epochs", "1")
    assert status == 0, err
    status, out, err = daezoo_command("evaluate", "runs/linear-digits/1")
    assert status == 0, err
    assert "LinearDAE" in out


def test_readme_names_every_source_file_and_target():
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "src" / "daezoo").rglob("*.py"):
        if not path.name.startswith("_") and path.parent.name not in ("data", "models"):
            assert path.name in readme, path
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE)) <= set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )


@pytest.mark.parametrize(("variable", "value", "known"), [("MODEL", "nope", "stacked"), ("DATA", "nope", "digits")])
def test_make_lists_what_is_known(variable, value, known):
    command = ["make", f"VENV={sys.prefix}", "train", "MODEL=vanilla", f"{variable}={value}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=ALONE)
    assert done.returncode != 0
    assert f"{variable}='{value}' is not known" in done.stderr
    assert known in done.stderr
    assert "Traceback" not in done.stderr
