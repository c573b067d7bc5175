import json
import shutil

import pytest
import torch
import yaml

import daezoo
from conftest import CONFIGS, fit_arguments
from daezoo.classifiers import load_classifier
from daezoo.cli import main
from daezoo.zoo import source
from daezoo.zoo.entry import read, write

TINY = ["--model.hidden", "[16]", "--trainer.max_epochs", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(fit_arguments("vanilla", "digits", *TINY, "--runs", str(folder), "--name", "it")) == 0
    return folder / "vanilla-digits" / "it"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it whose command is that of a checkout."""
    folder = tmp_path / "it"
    shutil.copytree(trained, folder)
    config = folder / "config.yaml"
    first, _, rest = config.read_text().partition("\n")
    assert first.startswith("# daezoo fit --config ")
    files = "--config configs/trainer.yaml --config configs/data/digits.yaml --config configs/model/vanilla.yaml"
    config.write_text(f"# daezoo fit {files} --runs {folder} --name it --model.hidden '[16]'\n{rest}")
    return folder


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("DAEZOO_CACHE", str(tmp_path / "cache"))
    for name in ("DAEZOO_SOURCE", "DAEZOO_OFFLINE", "DAEZOO_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(source, "shipped_folder", lambda: tmp_path / "zoo")
    return tmp_path / "zoo"


def exported(daezoo_command, run, zoo, *others):
    arguments = ["zoo", "export", str(run), "--name", "vanilla.mine", "--dest", str(zoo), *others]
    status, out, err = daezoo_command(*arguments)
    assert status == 0, err
    return out


def test_a_run_becomes_a_model_that_holds_what_it_promises(run, zoo, daezoo_command):
    out = exported(daezoo_command, run, zoo, "--level", "0.25", "--json")
    entry = daezoo.info("vanilla.mine")
    assert json.loads(out) == entry.model_dump(by_alias=True)
    assert entry.weights.dtype == "float16"
    assert entry.weights.bytes == (zoo / entry.weights.file).stat().st_size < 5000
    assert entry.training.epochs == 1
    assert entry.training.hardware
    assert entry.training.command.endswith("configs/model/vanilla.yaml --model.hidden '[16]'")
    assert str(run) not in entry.to_yaml()
    names = [(metric.name, metric.corruption and metric.corruption.init_args) for metric in entry.metrics]
    assert names == [("mse", {"sigma": 0.5}), ("psnr", {"sigma": 0.5}), ("mse", {"sigma": 0.25}),
                     ("psnr", {"sigma": 0.25}), ("accuracy", None)]  # fmt: skip
    assert "vanilla.mine" in (zoo / "README.md").read_text()

    model, original = daezoo.load("vanilla.mine"), daezoo.load(run)
    x = torch.rand(4, 1, 8, 8)
    assert torch.allclose(model.denoise(x), original.denoise(x), atol=1e-3)

    status, out, _ = daezoo_command("zoo", "verify", "--metrics", "vanilla.mine", "--json")
    assert status == 0
    (verdict,) = json.loads(out)
    assert verdict["checked"][-1] == "metrics"
    for metric in verdict["metrics"]:
        assert metric["measured"] == metric["value"]  # to the digit on the same machine

    status, out, _ = daezoo_command("probe", "vanilla.mine", "--json")
    assert json.loads(out)["accuracy"] == entry.metric("accuracy").value
    status, out, _ = daezoo_command("evaluate", "vanilla.mine", "--json")
    assert json.loads(out)["mse"] == entry.metric("mse").value


def test_a_number_outside_its_tolerance_fails(run, zoo, daezoo_command):
    exported(daezoo_command, run, zoo)
    entry = daezoo.info("vanilla.mine")
    metrics = [metric.model_copy(update={"value": metric.value + 0.05}) for metric in entry.metrics]
    write(entry.model_copy(update={"metrics": metrics}), zoo)
    status, out, _ = daezoo_command("zoo", "verify", "vanilla.mine", "--metrics")
    assert status == 1
    assert "OUTSIDE" in out and "accuracy (logreg-v1) is" in out
    assert daezoo_command("zoo", "verify", "vanilla.mine")[0] == 0  # which measures nothing


def test_absent_data_is_said_and_skipped(run, zoo, daezoo_command, tmp_path):
    exported(daezoo_command, run, zoo)
    entry = daezoo.info("vanilla.mine")
    data = {"class_path": "daezoo.data.ArraysData", "init_args": {"path": "$DAEZOO_DATA/absent.npz"}}
    write(entry.model_copy(update={"data": entry.data.model_copy(update=data)}), zoo)
    status, out, _ = daezoo_command("zoo", "verify", "vanilla.mine", "--metrics")
    assert status == 0
    assert "metrics skipped: its data is absent" in out and "absent.npz" in out
    assert "metrics of 1 skipped" in out


def test_full_precision_where_it_is_asked_for_or_needed(run, zoo, daezoo_command, monkeypatch):
    exported(daezoo_command, run, zoo, "--dtype", "float32")
    full = daezoo.info("vanilla.mine")
    assert full.weights.dtype == "float32"
    for ours, theirs in zip(daezoo.load("vanilla.mine").parameters(), daezoo.load(run).parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name in ("ACCURACY_TOLERANCE", "PSNR_TOLERANCE", "MSE_TOLERANCE"):
        monkeypatch.setattr(f"daezoo.zoo.measure.{name}", 1e-12)
    exported(daezoo_command, run, zoo, "--force")
    assert daezoo.info("vanilla.mine").weights == full.weights  # half precision did not hold


def test_nothing_is_replaced_unless_asked_for(run, zoo, daezoo_command):
    exported(daezoo_command, run, zoo)
    before = {path.name: path.read_bytes() for path in zoo.iterdir()}
    arguments = ["zoo", "export", str(run), "--name", "vanilla.mine", "--dest", str(zoo)]
    status, _, err = daezoo_command(*arguments)
    assert status == 2 and "--force" in err
    assert {path.name: path.read_bytes() for path in zoo.iterdir()} == before
    exported(daezoo_command, run, zoo, "--force")
    assert {path.name: path.read_bytes() for path in zoo.iterdir()} == before  # to the byte


def test_what_cannot_be_exported(run, zoo, daezoo_command, tmp_path, monkeypatch):
    def refused(*said, name="vanilla.mine", folder=run):
        status, _, err = daezoo_command("zoo", "export", str(folder), "--name", name, "--dest", str(zoo))
        assert status == 2, said
        for part in said:
            assert part in err
        assert not zoo.exists()

    refused("family.tag", name="../mine")
    refused("no finished run", folder=tmp_path / "absent")
    config = run / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("configs/trainer.yaml", "/home/me/trainer.yaml"))
    refused("/home/me/trainer.yaml", "path of this machine")
    config.write_text(text.partition("\n")[2])
    refused("does not begin with the command")
    config.write_text(text)
    summary = json.loads((run / "summary.json").read_text())
    del summary["hardware"]
    (run / "summary.json").write_text(json.dumps(summary))
    refused("--hardware")
    (run / "summary.json").unlink()
    refused("no finished run")


def test_data_of_ones_own_needs_its_licence_and_a_path_for_all(tmp_path, zoo, daezoo_command, monkeypatch):
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = {f"{split}_images": rng.integers(0, 256, (200, 8, 8), np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "my.npz", **arrays)
    where = ["--data.path", str(tmp_path / "my.npz")]
    arguments = fit_arguments("vanilla", "arrays", *TINY, *where, "--runs", str(tmp_path / "runs"), "--name", "it")
    assert main(arguments) == 0
    run = tmp_path / "runs" / "vanilla-arrays" / "it"
    config = run / "config.yaml"
    rest = config.read_text().partition("\n")[2]
    config.write_text(f"# daezoo fit --config configs/trainer.yaml --data.path {tmp_path / 'my.npz'}\n{rest}")
    export = ["zoo", "export", str(run), "--name", "vanilla.own", "--dest", str(zoo)]
    status, _, err = daezoo_command(*export, "--data-licence", "mine")
    assert status == 2 and "Set DAEZOO_DATA" in err
    monkeypatch.setenv("DAEZOO_DATA", str(tmp_path))
    status, _, err = daezoo_command(*export)
    assert status == 2 and "--data-licence" in err
    status, _, err = daezoo_command(*export, "--data-licence", "mine")
    assert status == 0, err
    entry = read(zoo / "vanilla.own.yaml")
    assert entry.data.init_args["path"] == "$DAEZOO_DATA/my.npz"
    assert entry.training.command.endswith("--data.path '$DAEZOO_DATA/my.npz'")
    assert entry.metric("accuracy") is None  # there are no labels
    assert daezoo_command("zoo", "verify", "vanilla.own", "--metrics")[0] == 0
    assert "vanilla.own | my |" in (zoo / "README.md").read_text()


@pytest.mark.slow
def test_retrain_runs_the_command_and_compares(run, zoo, daezoo_command, monkeypatch, tmp_path):
    config = run / "config.yaml"
    lines = config.read_text().split("\n")
    config.write_text("\n".join([f"{lines[0]} --trainer.max_epochs 1", *lines[1:]]))
    exported(daezoo_command, run, zoo)
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.setattr("daezoo.zoo.retrain.shipped_folder", lambda: zoo)
    arguments = ["zoo", "retrain", "vanilla.mine", "--compare", "--runs", str(tmp_path / "again")]
    status, out, err = daezoo_command(*arguments, "--json")
    assert status == 0, (out, err)
    found = json.loads(out[out.index("{") :])
    assert {metric["name"] for metric in found["metrics"]} == {"mse", "psnr", "accuracy"}
    status, out, _ = daezoo_command(*arguments)  # finished already
    assert status == 0 and "Nothing to do" not in out and "within tolerance" in out


def test_retraining_takes_trainings_alone(run, zoo, daezoo_command, tmp_path, monkeypatch):
    exported(daezoo_command, run, zoo)
    monkeypatch.setattr("daezoo.zoo.retrain.shipped_folder", lambda: zoo)
    (tmp_path / "configs").mkdir()
    entry = daezoo.info("vanilla.mine")
    for command in ("rm -r x", "daezoo evaluate x", "daezoo fit --runs /", "daezoo fit --name=../x"):
        training = entry.training.model_copy(update={"command": command})
        write(entry.model_copy(update={"training": training}), zoo)
        status, _, err = daezoo_command("zoo", "retrain", "vanilla.mine", "--runs", str(tmp_path / "again"))
        assert status == 2
        assert "no training command" in err


def test_the_data_of_an_entry_is_plain(run, zoo, daezoo_command):
    exported(daezoo_command, run, zoo)
    fields = yaml.safe_load((zoo / "vanilla.mine.yaml").read_text())
    assert fields["data"]["class_path"] == "daezoo.data.DigitsData"
    assert fields["data"]["init_args"]["corruption"]["class_path"] == "daezoo.corruption.Gaussian"
    assert fields["model"]["init_args"]["hidden"] == [16]


@pytest.fixture
def tuned(run, tmp_path, monkeypatch, daezoo_command):
    """A fine-tuning of the run."""
    monkeypatch.chdir(tmp_path)
    options = ["--max_epochs", "2", "--batch_size", "32", "--runs", "tuned", "--name", "it"]
    status, _, err = daezoo_command("finetune", str(run), *options)
    assert status == 0, err
    return tmp_path / "tuned/finetune-vanilla-digits/it"


def test_a_fine_tuning_becomes_a_model_that_classifies(tuned, run, zoo, daezoo_command):
    exported(daezoo_command, tuned, zoo)
    entry = daezoo.info("vanilla.mine")
    summary = json.loads((tuned / "summary.json").read_text())
    assert entry.classifier is not None
    assert entry.classifier.labels == list(range(10))
    assert entry.classifier.command == "daezoo finetune RUN --max_epochs 2 --batch_size 32"
    assert entry.classifier.epochs == summary["pretrained"]["epochs"] == 2
    assert entry.training.command.startswith("daezoo fit --config configs/trainer.yaml")
    assert str(run) not in entry.to_yaml()
    error = entry.metric("error")
    assert error is not None and error.protocol == "finetune-v1"
    assert error.value == pytest.approx(summary["pretrained"]["error"], abs=2 / 360)
    assert error.baselines == {"not pretrained": summary["scratch"]["error"]}
    assert f"| vanilla.mine | Digits | 10 | {100 * error.value:.2f} |" in (zoo / "README.md").read_text()

    model, classifier = daezoo.load("vanilla.mine"), load_classifier(tuned / "pretrained")
    x = torch.rand(4, 1, 8, 8)
    assert torch.allclose(model.classify(x), classifier(x), atol=0.02)
    assert not torch.allclose(model.encode(x), daezoo.load(run).encode(x), atol=0.02)
    assert model.labels == tuple(range(10))
    with pytest.raises(ValueError, match="was fine-tuned to classify, so its decoder no longer fits"):
        model.denoise(x)
    assert {metric.name for metric in entry.metrics} == {"accuracy", "error"}
    assert entry.golden.denoise is None

    status, out, _ = daezoo_command("zoo", "verify", "--metrics", "vanilla.mine", "--json")
    assert status == 0
    (verdict,) = json.loads(out)
    assert {row["name"]: row["measured"] for row in verdict["metrics"]}["error"] == error.value


def test_a_classifier_with_wrong_weights_is_refused(tuned, zoo, daezoo_command):
    exported(daezoo_command, tuned, zoo)
    entry = daezoo.info("vanilla.mine")
    assert entry.classifier is not None
    fewer = entry.classifier.model_copy(update={"labels": [0, 1]})
    write(entry.model_copy(update={"classifier": fewer}), zoo)
    with pytest.raises(ValueError, match=r"classifier\.\w+ is torch\.float16 \(10"):
        daezoo.load("vanilla.mine")
    write(entry.model_copy(update={"classifier": None}), zoo)
    with pytest.raises(ValueError, match="golden must have encode and denoise, not classify"):
        daezoo.load("vanilla.mine")


def test_a_fine_tuning_of_other_layers_or_of_nothing_pretrained_is_no_model(tuned, zoo, daezoo_command):
    summary = json.loads((tuned / "summary.json").read_text())
    (tuned / "summary.json").write_text(json.dumps({"scratch": summary["scratch"]}))
    status, _, err = daezoo_command("zoo", "export", str(tuned), "--name", "vanilla.mine", "--dest", str(zoo))
    assert status == 2
    assert "is no finished fine-tuning of a pretrained network" in err
    assert not (zoo / "vanilla.mine.yaml").exists()


@pytest.mark.slow  # three whole processes, one after the other
def test_retraining_a_classifier_runs_both_commands(tuned, zoo, daezoo_command, monkeypatch, tmp_path):
    exported(daezoo_command, tuned, zoo)
    entry = daezoo.info("vanilla.mine")
    training = entry.training.model_copy(update={"command": f"{entry.training.command} --trainer.max_epochs 1"})
    write(entry.model_copy(update={"training": training}), zoo)
    (tmp_path / "configs").symlink_to(CONFIGS)
    monkeypatch.setattr("daezoo.zoo.retrain.shipped_folder", lambda: zoo)
    arguments = ["zoo", "retrain", "vanilla.mine", "--compare", "--runs", str(tmp_path / "again"), "--json"]
    status, out, err = daezoo_command(*arguments)
    assert status == 0, (out, err)
    found = json.loads(out[out.index("{") :])
    assert found["run"] == str(tmp_path / "again/finetune-vanilla-digits/vanilla.mine")
    assert {metric["name"] for metric in found["metrics"]} == {"accuracy", "error"}
    assert entry.classifier is not None
    other = entry.classifier.model_copy(update={"command": "daezoo finetune elsewhere"})
    write(entry.model_copy(update={"classifier": other}), zoo)
    status, _, err = daezoo_command(*arguments)
    assert status == 2
    assert "has no command of fine-tuning" in err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.yaml", "# daezoo finetune x\n", "does not say what the fine-tuning started from"),
        (
            "config.yaml",
            "# daezoo finetune x\ntarget: [1]\ndata: {}\n",
            "does not say what the fine-tuning started from",
        ),
        ("config.yaml", "# daezoo finetune x\ntarget: !!python/name:os.system\n", "is no fine-tuning that can be read"),
        ("config.yaml", "# daezoo finetune x\n{", "is no fine-tuning that can be read"),
        ("config.yaml", "# daezoo finetune x\ntarget: some.zoo-name\ndata: {}\n", "did not start from a finished run"),
        ("summary.json", "{", "is no fine-tuning that can be read"),
        ("summary.json", "[]", "is no summary of a run"),
        ("summary.json", '{"pretrained": {}}', "an older daezoo did it"),
    ],
)
def test_a_fine_tuning_folder_that_is_not_as_written_is_refused(tuned, zoo, daezoo_command, name, text, said):
    (tuned / name).write_text(text)
    status, _, err = daezoo_command("zoo", "export", str(tuned), "--name", "vanilla.mine", "--dest", str(zoo))
    assert status == 2
    assert said in err
    assert "Traceback" not in err
    assert not zoo.exists() or not list(zoo.glob("*.yaml"))


def test_a_classifier_of_other_data_than_its_encoder_is_no_model(run, zoo, daezoo_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--data.split_seed", "5", "--max_epochs", "1", "--runs", "tuned", "--name", "it"]
    status, _, err = daezoo_command("finetune", str(run), *options, "--scratch", "false")
    assert status == 0, err
    folder = "tuned/finetune-vanilla-digits/it"
    status, _, err = daezoo_command("zoo", "export", folder, "--name", "vanilla.mine", "--dest", str(zoo))
    assert status == 2
    assert "was trained on other data than" in err


def test_the_command_of_a_classifier_names_its_target_first_wherever_it_stood(run, zoo, daezoo_command, tmp_path):
    options = ["--max_epochs", "1", str(run), "--scratch", "false", "--runs", str(tmp_path / "tuned"), "--name", "it"]
    status, _, err = daezoo_command("finetune", *options)
    assert status == 0, err
    exported(daezoo_command, tmp_path / "tuned/finetune-vanilla-digits/it", zoo)
    entry = daezoo.info("vanilla.mine")
    assert entry.classifier is not None
    assert entry.classifier.command == "daezoo finetune RUN --max_epochs 1 --scratch false"
    assert entry.metric("error").baselines == {}
    # a model with a classifier can be fine-tuned again
    again = ["finetune", "vanilla.mine", "--source", str(zoo), "--max_epochs", "1", "--scratch", "false"]
    status, _, err = daezoo_command(*again, "--runs", str(tmp_path / "again"), "--name", "it")
    assert status == 0, err
    folder = tmp_path / "again/finetune-vanilla-digits/it"
    assert load_classifier(folder / "pretrained").encoder.classifier is None
    status, _, err = daezoo_command("zoo", "export", str(folder), "--name", "vanilla.more", "--dest", str(zoo))
    assert status == 2
    assert "did not start from a finished run of daezoo fit, but from" in err and "vanilla.mine" in err
