"""The models in zoo/: each is what its entry says, and the documents are what the entries say."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import torch

import daezoo
from conftest import ROOT
from daezoo.zoo import entry, readme
from daezoo.zoo.golden import check_golden
from daezoo.zoo.source import shipped_folder

ZOO = ROOT / "zoo"
NAMES = sorted(path.stem for path in ZOO.glob("*.yaml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = [path.removeprefix("/") for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]]
TIER = sorted(path.removeprefix("zoo/").removesuffix(".safetensors") for path in WHEEL if path.endswith(".safetensors"))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DAEZOO_OFFLINE", "1")
    monkeypatch.delenv("DAEZOO_SOURCE", raising=False)


def test_the_promised_models_are_there():
    assert set(NAMES) >= {
        "vanilla.digits-mask25",
        "vanilla.mnist-mask25",
        "vanilla.mnist-gauss50",
        "vanilla.mnist-clean",
        "vanilla.breast-cancer-swap",
        "stacked.digits-mask",
        "stacked.mnist-mask25",
        "stacked.fashion-mask25",
        "stacked.convex-best",
        "stacked.mnist-best",
        "stacked.rot-best",
        "conv.mnist-blocks",
        "conv.fashion-mask25",
        "conv.cifar10-gauss",
        "residual.gray-gauss25",
        "residual.gray-blind",
        "vanilla.mnist-walkback",
        "unet.mnist-score",
        "unet.mnist-classes",
        "unet.fashion-score",
        "toy.spiral-score",
    }
    assert shipped_folder() == ZOO
    assert daezoo.list_models() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_and_computes_what_it_did(name):
    found, model = daezoo.info(name), daezoo.load(name)
    check_golden(model, found.golden, name)
    x = torch.rand(2, *found.input.shape)
    assert model.encode(x).ndim == 2
    if found.classifier:
        assert model.classify(x).shape == (2, len(found.classifier.labels))
    else:
        assert model.denoise(x, level=0.1).shape == x.shape
    assert {"unet": "preconditioned", "toy": "preconditioned"}.get(found.family, found.family) == type(
        model
    ).__name__.removesuffix("DAE").lower()
    assert found.weights.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_each_entry_says_how_it_came_about_and_what_it_is_worth(name):
    found = daezoo.info(name)
    assert re.fullmatch(r"[0-9a-f]{40}", found.training.commit or ""), "trained from a changed tree"
    assert found.training.command.startswith("daezoo fit --config configs/trainer.yaml")
    for path in re.findall(r"configs/\S+", found.training.command):
        assert (ROOT / path).is_file()
    assert not re.search(r"(^|[\s'\"=])/\w", found.to_yaml()), "a path of some machine"
    assert found.metric("error") if found.classifier else found.metric("mse") and found.metric("psnr")
    for metric in found.metrics:
        assert set(metric.baselines) >= ({"raw pixels", "untrained"} if metric.name == "accuracy" else set())
    assert found.metric("accuracy") or found.family in ("residual", "toy")
    assert found.licence.data and found.licence.weights
    assert found.to_yaml() == (ZOO / f"{name}.yaml").read_text()


def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)


def has_whole_history():
    return shutil.which("git") is not None and git("rev-parse", "--is-shallow-repository").stdout == "false\n"


@pytest.mark.skipif(not has_whole_history(), reason="needs git and the whole history")
@pytest.mark.parametrize("name", NAMES)
def test_each_was_trained_from_a_commit_of_this_history(name):
    assert git("merge-base", "--is-ancestor", daezoo.info(name).training.commit, "HEAD").returncode == 0


def test_the_table_is_rendered_from_the_entries():
    assert (ZOO / "README.md").read_text() == readme.render(entry.read_all(ZOO)), "run make zoo-readme"


def test_sizes():
    assert sorted(path.stem for path in ZOO.glob("*.safetensors")) == NAMES
    assert sum(path.stat().st_size for path in ZOO.iterdir()) < 90 * 2**20


def test_the_small_tier_is_small_and_may_be_passed_on():
    assert TIER
    assert sum((ZOO / f"{name}.safetensors").stat().st_size for name in TIER) <= entry.TIER
    for name in TIER:
        assert daezoo.info(name).data.class_path.rpartition(".")[2] in ("DigitsData", "MNISTData", "FashionMNISTData")


@pytest.mark.slow
def test_the_wheel_has_all_entries_and_the_tier_and_works_without_network(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = [name.rpartition("/")[2] for name in archive.namelist() if "/pretrained/" in name]
        archive.extractall(tmp_path / "site")
    assert sorted(inside) == sorted([f"{name}.yaml" for name in NAMES] + [f"{name}.safetensors" for name in TIER])
    code = (
        "import daezoo, torch\n"
        f"assert daezoo.__file__.startswith({str(tmp_path)!r}), daezoo.__file__\n"
        f"assert daezoo.list_models() == {NAMES}\n"
        f"for name in {TIER}:\n"
        "    x = torch.rand(2, *daezoo.info(name).input.shape)\n"
        "    assert daezoo.load(name).denoise(x).shape == x.shape\n"
        "try:\n"
        "    daezoo.load('residual.gray-blind')\n"
        "except ValueError as error:\n"
        "    assert 'zoo import' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('loaded from nowhere')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
