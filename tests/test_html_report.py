import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import fit_arguments
from daezoo.evaluation.restoration import PROTOCOL
from daezoo.html_report import _maps
from daezoo.html_report import run as report

RUN = Path("runs/vanilla-digits/1")
VOID = {"meta", "img", "link", "br", "hr", "input"}
SECTIONS = ("results", "configuration", "training", "reconstructions", "noise", "filters", "codes", "linear-probe")
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Page(HTMLParser):
    """Fails on tags that do not match, on ids that are there twice, and on whatever leads outside the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.pointed: set[str] = set()
        self.words: dict[str, str] = {}
        self.section = ""
        self.feed(text)
        self.close()
        assert not self.open
        assert self.pointed <= self.ids
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.[^\s\"'<>)]*", re.sub(r"base64,[\w+/=]*", "", text)))
        assert found <= NAMESPACES
        assert "@import" not in text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            assert given["id"] not in self.ids, given["id"]
            self.ids.add(given["id"])
            self.section = given["id"] if tag == "h2" else self.section
        assert tag != "img" or given["alt"]
        assert tag != "svg" or given["aria-label"]
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert given.get(name, "#").startswith(("#", "data:image/png;base64,"))
            if given.get(name, "").startswith("#"):
                self.pointed.add(given[name][1:])
        for place in re.findall(r"url\((.*?)\)", " ".join(given.values())):
            assert place.startswith("#")
            self.pointed.add(place[1:])
        assert not any(name.startswith("on") for name in given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words[self.section] = self.words.get(self.section, "") + data


def page(folder: Path, *others: str) -> Page:
    report([str(folder), "--device", "cpu", "--samples", "40", *others])
    return Page((folder / "report.html").read_text())


def layer(number: int, levels: tuple[float | None, ...] = (0.1, 0.5)) -> dict:
    measured = {"accuracy": 0.96, "interval": [0.95, 0.97], "untrained": 0.9, "untrained_interval": [0.88, 0.92]}
    codes = {"mean_activation": 0.1, "dead": 0.02, "saturated": None, "effective_rank": 70.0, "corruption": "Masking"}
    codes |= {"invariance": [{"level": level, "cosine": 0.9} for level in levels], "cosine_between_samples": 0.5}
    named = {"layer": number, "protocol": "logreg-v1", "features": 1000, "strength": 0.1}
    return named | measured | {"knn": 0.97, "knn_interval": [0.96, 0.98], "codes": codes}


def probe(*layers: dict, step: int = 0) -> str:
    known = {"model": "VanillaDAE", "data": "DigitsData", "samples": {"train": 1257, "valid": 180, "test": 360}}
    raw = {"raw_pixels": 0.94, "raw_pixels_interval": [0.92, 0.96]}
    return json.dumps(known | raw | {"classes": 10, "k": 20, "layers": layers, "step": step})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended, trained once for this file."""
    from daezoo.cli import main

    folder = tmp_path_factory.mktemp("finished")
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1", "--model.hidden", "[12]")
    assert main([*arguments, "--runs", str(folder / "runs")]) == 0
    return folder / RUN


@pytest.fixture
def folder(finished: Path, workplace: Path) -> Path:
    """A copy of it, in the test's own working directory."""
    shutil.copytree(finished, RUN)
    return RUN


@pytest.fixture
def fit(workplace: Path) -> Callable[..., Path]:
    def train(model: str, data: str, *others: str) -> Path:
        from daezoo.cli import main

        small = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"]
        assert main([*fit_arguments(model, data), *small, *others]) == 0
        return Path(f"runs/{model}-{data}/1")

    return train


def vectors(train: int = 60, test: int = 2) -> list[str]:
    draw = np.random.default_rng(0)
    np.savez("mine.npz", train_images=draw.random((train, 6)), test_images=draw.random((test, 6)))
    return ["--data.path", "mine.npz", "--data.batch_size", "8", "--model.hidden", "[4]"]


def test_a_page_has_every_section_and_is_the_same_twice(folder, capsys):
    step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    (folder / "probe-digits-last.json").write_text(probe(layer(1), step=step))
    config = folder / "config.yaml"
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("#")))
    capsys.readouterr()
    one = page(folder)
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    first = (folder / "report.html").read_bytes()
    assert set(SECTIONS) < one.ids
    assert {"html", "main", "nav", "h1", "table", "svg", "img"} <= set(one.tags)
    assert "denoised" in one.words["results"]
    assert "probe again" not in one.words["linear-probe"]
    assert PROTOCOL in one.words["results"]
    assert PROTOCOL in one.words["noise"]
    assert "daezoo fit --config runs/vanilla-digits/1/config.yaml" in one.words["configuration"]
    assert metadata.version("torch") in one.words["configuration"]
    assert "One colour for each of 10 classes" in one.words["codes"]
    assert "96.00" in one.words["linear-probe"]
    assert "standardised on 1,257 training samples" in one.words["linear-probe"]
    assert "70.0" in one.words["features"]
    assert "not finished" not in one.words["results"]
    page(folder, "--out", "elsewhere/page.html")
    assert Path("elsewhere/page.html").read_bytes() == first


def test_the_numbers_are_those_of_the_summary_and_of_the_trained_level(folder):
    test = json.loads((folder / "summary.json").read_text())["test"]
    one = page(folder, "--samples", "1000", "--data", "digits")
    assert "codes are of digits" in one.words["results"]
    assert f"{test['mse']:.5f}" in one.words["results"]
    assert f"{test['mse']:.5f}" in one.words["noise"]
    assert f"{test['psnr']:.2f}" in one.words["noise"]
    assert f"{test['mse_train_mean']:.5f}" in one.words["noise"]


def test_a_bare_unfinished_run_of_any_name_gets_a_page(folder):
    hostile = folder.with_name("<script>alert('x') & $main\"")
    folder.rename(hostile)
    (hostile / "summary.json").unlink()
    (hostile / "metrics.csv").write_text("")
    config = hostile / "config.yaml"
    config.write_text("# daezoo fit --name '</code><script>'\n" + config.read_text())
    one = page(hostile)
    assert "script" not in one.tags
    assert "<script>alert('x') & $main\"" in one.words[""]
    assert "not finished" in one.words["results"]
    assert "daezoo fit --name '</code><script>'" in one.words["configuration"]
    assert "Nothing was logged" in one.words["training"]
    assert "daezoo probe " in one.words["linear-probe"]


def test_damaged_files_are_said_in_the_page(folder):
    (folder / "metrics.csv").write_text("step,train/loss\n1,none\n")
    (folder / "summary.json").write_text("[1]")
    (folder / "probe-all.json").write_text(probe(layer(1), layer(2)))
    (folder / "probe-cut.json").write_text(probe(layer(1))[:-20])
    (folder / "probe-other.json").write_text('{"layers": [1]}')
    (folder / "probe-oneof.json").write_text(probe(layer(1, (None,))))
    one = page(folder)
    assert "metrics.csv is damaged" in one.words["training"]
    assert "summary.json is damaged" in one.words["results"]
    assert "probe-cut.json is damaged" in one.words["linear-probe"]
    assert "probe-other.json is damaged" in one.words["features"]
    assert one.words["linear-probe"].count("codes before training") == 3
    assert one.words["linear-probe"].count("This is of training step 0") == 2


def test_vectors_without_labels_of_which_two_make_no_map_and_three_do(fit):
    folder = fit("vanilla", "arrays", *vectors())
    one = page(folder)
    assert "no filters" in one.words["filters"]
    assert "three test samples or more; there are 2" in one.words["codes"]
    vectors(test=3)
    one = page(folder)
    assert "t-SNE" in one.words["codes"]
    assert "one colour" in one.words["codes"]


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_model_that_died(folder, value):
    path = folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (folder / "metrics.csv").unlink()
    for weight in checkpoint["state_dict"].values():
        weight.fill_(value)
    torch.save(checkpoint, path)
    one = page(folder)
    assert "there is no map of them" in one.words["codes"]
    assert "There is no metrics.csv" in one.words["training"]


def test_a_residual_model_and_a_corruption_without_a_level(fit):
    corruption = ["--data.corruption", "OneOf", "--data.corruption.choices", "[{class_path: Masking}]"]
    small = ["--model.network.widths", "[4,6]"]
    one = page(fit("residual", "digits", *small, *corruption))
    assert "OneOf has no single level" in one.words["noise"]
    assert "as it is" in one.words["noise"]


def test_umap_is_drawn_where_it_is_installed(workplace, monkeypatch):
    Path("umap.py").write_text(
        "class UMAP:\n"
        "    def __init__(self, **options): pass\n"
        "    def fit_transform(self, codes): return codes[:, 1:3]\n"
    )
    monkeypatch.syspath_prepend(".")
    assert [name.partition(",")[0] for name in _maps(np.eye(9, 4))] == ["PCA", "t-SNE", "UMAP"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["nowhere"], "no checkpoint or run folder nowhere"),
        (["last.ckpt"], "last.ckpt is no run folder"),
        ([str(RUN), "--samples", "0"], "--samples must be at least 1, got 0"),
    ],
    ids=str,
)
def test_errors_of_use(folder, arguments, wanted):
    shutil.copy(folder / "checkpoints" / "last.ckpt", "last.ckpt")
    with pytest.raises(ValueError, match=re.escape(wanted)):
        report(arguments)
    assert not (folder / "report.html").exists()
