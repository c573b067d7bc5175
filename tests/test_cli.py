import subprocess
import sys

import pytest

import daezoo
from conftest import CONFIGS, fit_arguments


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys; from daezoo.cli import main; main(['--help']); main(['--version']);"
        "heavy = {'torch', 'lightning', 'numpy', 'matplotlib', 'jsonargparse'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("fit", "validate", "test", "predict", "evaluate", daezoo.__version__):
        assert command in done.stdout


def test_an_unknown_attribute_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        daezoo.lode  # noqa: B018


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_beside_metrics_csv_gets_metrics_and_pictures(daezoo_command, workplace, monkeypatch, logger):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1", "--logger", logger)
    status, _, err = daezoo_command(*arguments)
    assert status == 0, err
    run = workplace / "runs" / "vanilla-digits" / "1"
    assert (run / "metrics.csv").is_file()
    if logger == "wandb":
        assert list((run / "wandb").glob("offline-run-*/files/media/images/reconstructions*.png"))
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        assert "train/loss" in events.Tags()["scalars"]
        assert events.Tags()["images"] == ["reconstructions"]


def test_lightnings_own_commands_judge_a_checkpoint(daezoo_command, workplace):
    assert daezoo_command(*fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1"))[0] == 0
    run = workplace / "runs" / "vanilla-digits" / "1"
    for command in ("validate", "test", "predict"):
        files = fit_arguments("vanilla", "digits")[1:]
        status, out, err = daezoo_command(command, *files, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"))
        assert status == 0, err
        if command != "predict":
            assert {"validate": "val/mse", "test": "test/mse"}[command] in out
    assert sorted(path.name for path in (workplace / "runs" / "vanilla-digits").iterdir()) == ["1"]


def test_runs_are_named_after_the_files_that_name_the_classes(daezoo_command, workplace):
    (workplace / "mine.yaml").write_text((CONFIGS / "model" / "vanilla.yaml").read_text())
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1")
    assert (
        daezoo_command(*(part.replace(str(CONFIGS / "model" / "vanilla.yaml"), "mine.yaml") for part in arguments))[0]
        == 0
    )
    assert (workplace / "runs" / "mine-digits" / "1" / "summary.json").is_file()
