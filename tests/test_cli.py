import json
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    # nobody is logged in
    monkeypatch.setenv("HOME", str(workplace))
    monkeypatch.setenv("NETRC", str(workplace / "netrc"))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    arguments = fit_arguments(
        "vanilla", "digits", "--trainer.max_epochs", "1", "--logger", logger, "--pictures", "true"
    )
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
        assert {"validate": "val/mse", "test": "test/mse", "predict": "denoised.npz"}[command] in out
    assert np.load(run / "checkpoints" / "denoised.npz")["denoised"].shape == (360, 1, 8, 8)
    assert sorted(path.name for path in (workplace / "runs" / "vanilla-digits").iterdir()) == ["1"]


def test_runs_are_named_after_the_files_that_name_the_classes(daezoo_command, workplace):
    (workplace / "mine.yaml").write_text((CONFIGS / "model" / "vanilla.yaml").read_text())
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1")
    assert (
        daezoo_command(*(part.replace(str(CONFIGS / "model" / "vanilla.yaml"), "mine.yaml") for part in arguments))[0]
        == 0
    )
    assert (workplace / "runs" / "mine-digits" / "1" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["test"], "needs a trained model: --ckpt_path FILE"),
        (["test", "--ckpt_path", "bad.ckpt"], "bad.ckpt is no readable checkpoint"),
        (["fit", "--ckpt_path", "bad.ckpt"], "ckpt_path"),
        (
            ["fit", "--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "33"],
            "2 processes cannot share",
        ),
        (["fit", "--trainer.enable_checkpointing", "false"], "enable_checkpointing"),
    ],
    ids=str,
)
def test_what_would_mislead_or_fail_later_is_refused_at_once(daezoo_command, workplace, arguments, wanted):
    (workplace / "bad.ckpt").write_text("no checkpoint")
    files = fit_arguments("vanilla", "digits", "--trainer.accelerator", "cpu")[1:]
    status, _, err = daezoo_command(arguments[0], *files, *arguments[1:])
    assert status == 2
    assert err.startswith("daezoo: error:")
    assert wanted in err
    assert not (workplace / "runs").exists()


@pytest.mark.slow
def test_a_run_that_ends_within_an_epoch_goes_on_within_it(daezoo_command, workplace):
    arguments = fit_arguments("vanilla", "digits", "--trainer.max_steps")
    assert daezoo_command(*arguments, "50", "--name", "whole")[0] == 0
    assert daezoo_command(*arguments, "7", "--name", "cut")[0] == 0
    runs = Path("runs/vanilla-digits")
    assert daezoo_command("fit", f"--resume={runs / 'cut'}", "--trainer.max_steps", "50")[0] == 0
    summaries = [json.loads((runs / name / "summary.json").read_text()) for name in ("whole", "cut")]
    assert summaries[0]["epochs"] == summaries[1]["epochs"]
    assert summaries[0]["test"] == summaries[1]["test"]


def test_a_run_started_from_a_whole_configuration_is_named_after_its_classes(daezoo_command, workplace):
    assert daezoo_command(*fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1"))[0] == 0
    assert daezoo_command("fit", "--config", "runs/vanilla-digits/1/config.yaml")[0] == 0
    assert (workplace / "runs" / "vanilla-digits" / "2" / "summary.json").is_file()
