import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from PIL import Image

from conftest import fit_arguments

Command = Callable[..., tuple[int, str, str]]


def unit(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


def npz(name: str, **arrays: Any) -> list[str]:
    np.savez(name, **arrays)
    return ["--data.path", name]


def pictures(folder: str, count: int, size: int = 64) -> Path:
    Path(folder).mkdir()
    for number in range(count):
        Image.fromarray((unit(size, size) * 255).astype(np.uint8)).save(f"{folder}/picture{number}.png")
    return Path(folder)


def yaml(name: str, text: str) -> list[str]:
    Path(name).write_text(text)
    return ["--config", name]


def fit(model: str, data: str, prepare: Callable[[], object] = list) -> Callable[[], list[str]]:
    """A fit whose last arguments, and the files they name, are made in the test's own folder."""
    return lambda: [*fit_arguments(model, data), *(str(part) for part in prepare() or ())]


def evaluate(target: str, prepare: Callable[[], object] = list) -> Callable[[], list[str]]:
    def make() -> list[str]:
        prepare()
        return ["evaluate", target]

    return make


def broken_picture() -> list[str]:
    pictures("photos", 3)
    Path("photos/picture1.png").write_bytes(b"not a picture")
    return ["--data.root", "photos"]


def empty_folder() -> list[str]:
    Path("hollow").mkdir()
    return ["--data.root", "hollow"]


def taken_name() -> list[str]:
    Path("finished/vanilla-digits/mine").mkdir(parents=True)
    return ["--runs", "finished", "--name", "mine"]


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def pickled() -> None:
    Path("bomb.ckpt").write_bytes(pickle.dumps(Bomb()))


def other_class() -> None:
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(BoringModel())
    trainer.save_checkpoint("boring.ckpt")


def unknown_class() -> None:
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": "somewhere.OtherDAE"}}
    torch.save(content, "other.ckpt")


def lost_class() -> None:
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": "daezoo.models.gone.GoneDAE"}}
    torch.save(content, "lost.ckpt")


def loader_class() -> None:
    content = {"state_dict": {}, "hyper_parameters": {"_class_path": "daezoo.data.DigitsData"}}
    torch.save(content, "data.ckpt")


def other_weights() -> None:
    init = {"_class_path": "daezoo.models.VanillaDAE", "shape": [1, 8, 8], "hidden": [3]}
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "hyper_parameters": init}, "weights.ckpt")


def saved(**content: Any) -> Callable[[], None]:
    def make() -> None:
        torch.save({"state_dict": {}, "hyper_parameters": {}} | content, "saved.ckpt")

    return make


def a_run(config: str, **others: str) -> list[str]:
    Path("begun").mkdir()
    for name, text in {"config.yaml": config, **others}.items():
        Path("begun", name).write_text(text)
    return ["fit", "--resume", "begun"]


LAUGHS = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(12))


def whole_images() -> dict[str, np.ndarray]:
    return {"train_images": unit(40, 8, 8), "test_images": unit(8, 8, 8)}


# what is wrong: the command line, and what the error must say
BAD: dict[str, tuple[Callable[[], list[str]], list[str]]] = {
    "unknown key in a config, trainer": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "trainer:\n  max_epoch: 3\n")),
        ["trainer.max_epoch"],
    ),
    "unknown key in a config, model": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "model:\n  init_args:\n    hiden: [3]\n")),
        ["hiden", "VanillaDAE"],
    ),
    "unknown key in a config, data": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "data:\n  init_args:\n    crop: 3\n")),
        ["crop", "DigitsData"],
    ),
    "unknown key in a config, top": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "optimiser:\n  lr: 3\n")),
        ["optimiser"],
    ),
    "config that is no YAML": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "model: [\n")),
        ["mine.yaml"],
    ),
    "config with code in a tag": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "name: !!python/object/apply:os.system ['touch ran']\n")),
        ["mine.yaml", "python/object/apply"],
    ),
    "config with a number that is none": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "seed_everything: !!int\n")),
        ["mine.yaml", "no YAML"],
    ),
    "config that holds itself": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "model: &a {init_args: *a}\n")),
        ["mine.yaml", "&a", "holds itself"],
    ),
    "config of a billion laughs": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", f"a0: &a0 [1, 2]\n{LAUGHS}")),
        ["mine.yaml", "100,000 values"],
    ),
    "config that is nested without end": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "model: " + "[" * 5000)),
        ["mine.yaml", "100 deep"],
    ),
    "config that names others": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "config: other.yaml\n")),
        ["mine.yaml", "`config`", "a --config of its own"],
    ),
    "config that is a list": (
        fit("vanilla", "digits", lambda: yaml("mine.yaml", "- model\n")),
        ["mine.yaml", "keys and values", "list"],
    ),
    "layers that no memory holds": (
        fit("vanilla", "digits", lambda: ["--model.hidden", "[1000000000000]"]),
        ["more than this machine can hold", "smaller"],
    ),
    "layers without end": (
        fit("dncnn", "digits", lambda: ["--model.network.depth", "1000000000"]),
        ["depth", "1000000000"],
    ),
    "crops that no memory holds": (
        fit("residual", "images", lambda: ["--data.crops_per_epoch", str(10**30)]),
        ["more than this machine can hold", "fewer"],
    ),
    "shapes that no memory holds": (
        fit("vanilla", "shapes", lambda: ["--data.train", str(10**12)]),
        ["more than this machine can hold", "fewer"],
    ),
    "config that is missing": (fit("vanilla", "digits", lambda: ["--config", "gone.yaml"]), ["gone.yaml"]),
    "ratio out of range": (
        fit("vanilla", "digits", lambda: ["--data.corruption", "Masking", "--data.corruption.ratio", "1.5"]),
        ["ratio", "[0, 1]", "1.5"],
    ),
    "ratio out of range in a config": (
        fit(
            "vanilla",
            "digits",
            lambda: yaml(
                "mine.yaml",
                "data:\n  init_args:\n    corruption:\n      class_path: daezoo.corruption.Masking\n"
                "      init_args:\n        ratio: -1\n",
            ),
        ),
        ["ratio", "[0, 1]", "-1"],
    ),
    "sigma out of range": (
        fit("residual", "digits", lambda: ["--data.corruption.sigma", "-0.5"]),
        ["sigma", "at least 0", "-0.5"],
    ),
    "cross-entropy with data outside [0, 1]": (
        fit("vanilla", "arrays", lambda: npz("wide.npz", **whole_images() | {"train_images": unit(40, 8, 8) * 3})),
        ["wide.npz", "train_images", "[0, 1]", "--data.rescale"],
    ),
    "squared error with data outside [0, 1]": (
        fit("residual", "arrays", lambda: npz("wide.npz", **whole_images() | {"test_images": unit(8, 8, 8) - 1})),
        ["wide.npz", "test_images", "[0, 1]", "--data.rescale"],
    ),
    "cross-entropy with ResidualDAE": (
        fit("residual", "digits", lambda: ["--model.loss", "CrossEntropy"]),
        ["ResidualDAE", "CrossEntropy", "SquaredError"],
    ),
    "arrays without a path": (fit("vanilla", "arrays"), ["path", "ArraysData"]),
    "missing npz": (fit("vanilla", "arrays", lambda: ["--data.path", "gone.npz"]), ["gone.npz"]),
    "npz with NaN": (
        fit(
            "vanilla", "arrays", lambda: npz("nan.npz", **whole_images() | {"test_images": np.full((8, 8, 8), np.nan)})
        ),
        ["nan.npz", "test_images", "NaN"],
    ),
    "npz with wrong keys": (
        fit("vanilla", "arrays", lambda: npz("keys.npz", x_train=unit(4, 8, 8), x_test=unit(4, 8, 8))),
        ["keys.npz", "train_images", "test_images", "x_train"],
    ),
    "npz with unequal lengths": (
        fit("vanilla", "arrays", lambda: npz("length.npz", **whole_images(), train_labels=np.arange(39))),
        ["length.npz", "train_labels", "39", "40"],
    ),
    "image folder with a broken file": (fit("residual", "images", broken_picture), ["photos/picture1.png"]),
    "empty image folder": (fit("residual", "images", empty_folder), ["hollow", "no pictures"]),
    "missing image folder": (fit("residual", "images", lambda: ["--data.root", "gone"]), ["gone", "--data.root"]),
    "conv with a size its strides don't divide": (
        fit("conv", "arrays", lambda: npz("odd.npz", train_images=unit(40, 9, 9), test_images=unit(8, 9, 9))),
        ["9x9", "2", "channels"],
    ),
    "conv with vectors": (
        fit("conv", "arrays", lambda: npz("flat.npz", train_images=unit(40, 10), test_images=unit(8, 10))),
        ["(C, H, W)", "(10,)"],
    ),
    "stacked with wrong epochs": (
        fit("stacked", "digits", lambda: ["--trainer.max_epochs", "7"]),
        ["100", "7", "max_epochs", "epochs_per_layer"],
    ),
    "batch larger than the data": (
        fit("vanilla", "digits", lambda: ["--data.batch_size", "5000"]),
        ["5000", "1257", "--data.batch_size"],
    ),
    "classes that are not there": (
        fit("vanilla", "digits", lambda: ["--data.classes", "[3,12]"]),
        ["classes", "[3, 12]", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"],
    ),
    "classes of samples without labels": (
        fit("vanilla", "arrays", lambda: [*npz("bare.npz", **whole_images()), "--data.classes", "[0]"]),
        ["classes", "labels", "--data.classes", "train_labels"],
    ),
    "batch size that is no number": (fit("vanilla", "digits", lambda: ["--data.batch_size", "many"]), ["batch_size"]),
    "run folder that exists": (fit("vanilla", "digits", taken_name), ["finished/vanilla-digits/mine", "--resume"]),
    "a file where the runs should go": (
        fit("vanilla", "digits", lambda: ["--runs", Path("taken").write_text("") or "taken"]),
        ["taken"],
    ),
    "name that is a path": (fit("vanilla", "digits", lambda: ["--name", "a/b"]), ["a/b", "plain folder name"]),
    "unknown model class": (lambda: ["fit", "--data", "DigitsData", "--model", "NoSuchDAE"], ["NoSuchDAE"]),
    "unknown data class": (lambda: ["fit", "--data", "NoSuchData", "--model", "VanillaDAE"], ["NoSuchData"]),
    "unknown corruption": (fit("vanilla", "digits", lambda: ["--data.corruption", "Rain"]), ["Rain"]),
    "unknown option": (fit("vanilla", "digits", lambda: ["--colour", "3"]), ["--colour"]),
    "unknown option of the model": (fit("vanilla", "digits", lambda: ["--model.depth", "3"]), ["depth", "VanillaDAE"]),
    "nothing to fit": (lambda: ["fit"], ["model", "data"]),
    "unknown command": (lambda: ["train"], ["train", "--help"]),
    "resume of nothing": (lambda: ["fit", "--resume", "gone"], ["gone", "no run folder", "config.yaml"]),
    "resume of a folder that is no run": (
        lambda: ["fit", "--resume", empty_folder()[-1]],
        ["hollow", "no run folder", "config.yaml"],
    ),
    "resume of a run with a damaged configuration": (lambda: a_run("- trainer"), ["begun/config.yaml", "list"]),
    "resume of a run with a damaged summary": (
        lambda: a_run("trainer: {}", **{"summary.json": "[1]"}),
        ["begun/summary.json", "damaged", "Delete"],
    ),
    "resume without a folder": (lambda: ["fit", "--resume"], ["--resume", "run folder"]),
    "evaluate of nothing": (lambda: ["evaluate"], ["target"]),
    "evaluate of a missing checkpoint": (evaluate("gone.ckpt"), ["gone.ckpt"]),
    "evaluate of a text file": (
        evaluate("text.ckpt", lambda: Path("text.ckpt").write_text("hello")),
        ["text.ckpt", "no readable checkpoint"],
    ),
    "evaluate of an empty file": (
        evaluate("empty.ckpt", lambda: Path("empty.ckpt").write_text("")),
        ["empty.ckpt", "no readable checkpoint"],
    ),
    "evaluate of a pickle": (evaluate("bomb.ckpt", pickled), ["bomb.ckpt", "no readable checkpoint"]),
    "evaluate of a pickle by torch": (
        evaluate("bomb.ckpt", lambda: torch.save({"state_dict": Bomb()}, "bomb.ckpt")),
        ["bomb.ckpt", "no readable checkpoint"],
    ),
    "evaluate of tensors that are no checkpoint": (
        evaluate("tensors.pt", lambda: torch.save({"weight": torch.zeros(3)}, "tensors.pt")),
        ["tensors.pt", "no checkpoint", "hyper_parameters and state_dict"],
    ),
    "evaluate of another program's checkpoint": (
        evaluate("boring.ckpt", other_class),
        ["boring.ckpt", "no checkpoint of a daezoo model: it lacks hyper_parameters."],
    ),
    "evaluate of an unknown class": (evaluate("other.ckpt", unknown_class), ["other.ckpt", "somewhere.OtherDAE"]),
    "evaluate of a class that is gone": (
        evaluate("lost.ckpt", lost_class),
        ["lost.ckpt", "daezoo.models.gone.GoneDAE"],
    ),
    "evaluate of a class that is no model": (evaluate("data.ckpt", loader_class), ["data.ckpt", "DigitsData"]),
    "evaluate of weights that do not fit": (evaluate("weights.ckpt", other_weights), ["weights.ckpt", "VanillaDAE"]),
    "evaluate of hyperparameters that are none": (
        evaluate("saved.ckpt", saved(hyper_parameters=["shape"])),
        ["saved.ckpt", "hyper_parameters", "dictionary"],
    ),
    "evaluate of weights that are none": (
        evaluate("saved.ckpt", saved(state_dict={"weight": "heavy"})),
        ["saved.ckpt", "state_dict.weight", "Tensor"],
    ),
    "evaluate of a name that is a number": (
        evaluate("saved.ckpt", saved(hyper_parameters={3: 4})),
        ["saved.ckpt", "hyper_parameters", "string"],
    ),
    "evaluate of an argument without names": (
        evaluate(
            "saved.ckpt",
            saved(
                hyper_parameters={
                    "_class_path": "daezoo.models.VanillaDAE",
                    "loss": {"class_path": "daezoo.losses.SquaredError", "init_args": [1]},
                }
            ),
        ),
        ["saved.ckpt", "daezoo.losses.SquaredError"],
    ),
    "evaluate of classes without a classifier": (
        evaluate(
            "saved.ckpt",
            saved(
                hyper_parameters={"_class_path": "daezoo.models.VanillaDAE", "shape": [6], "hidden": [3]},
                labels=[0, 1],
            ),
        ),
        ["saved.ckpt", "classifier.weight"],
    ),
    "evaluate of an empty folder": (evaluate("hollow", empty_folder), ["hollow", "last.ckpt"]),
}


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same precision on every machine."""
    monkeypatch.setattr("daezoo.hardware.cpu_features", frozenset)


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_paragraph_that_names_it_before_anything_is_made(
    what: str, daezoo_command: Command, workplace: Path
) -> None:
    make, said = BAD[what]
    arguments = make()
    before = {path: path.stat().st_mtime_ns for path in workplace.rglob("*")}
    status, stdout, stderr = daezoo_command(*arguments)
    assert status == 2
    assert stdout == ""
    assert stderr.startswith("daezoo: error: ")
    assert len(stderr.splitlines()) == 1
    assert "Traceback" not in stderr
    for part in said:
        assert part in stderr
    assert {path: path.stat().st_mtime_ns for path in workplace.rglob("*")} == before


@pytest.mark.parametrize("what", ["unknown model class", "unknown data class", "unknown corruption"])
def test_an_unknown_class_is_told_without_the_parsers_attempts(what: str, daezoo_command: Command) -> None:
    _, _, stderr = daezoo_command(*BAD[what][0]())
    assert "Expected a path" not in stderr
    assert "Union" not in stderr


@pytest.mark.parametrize("what", ["evaluate of a text file", "evaluate of a pickle"])
def test_the_reason_why_a_file_is_no_checkpoint_is_in_words(what: str, daezoo_command: Command) -> None:
    _, _, stderr = daezoo_command(*BAD[what][0]())
    _, _, reason = stderr.partition("no readable checkpoint: ")
    assert len(reason.split()) >= 3
