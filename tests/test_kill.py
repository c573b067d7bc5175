"""Trainings that are really killed, in processes of their own."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import MODELS, fit_arguments

pytestmark = pytest.mark.slow

# stacked: killed at any time of its four phases; residual in bf16 where the CPU is fast at it
SHORT = {
    "stacked": ("--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "1", "--model.hidden", "[300,300,300]"),
    "residual": ("--trainer.max_epochs", "4", "--model.network.widths", "[16,16]"),
}
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")


def daezoo(folder: Path, *arguments: str, **options: object) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "daezoo", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes, **options)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def arguments(model: str, *others: str) -> list[str]:
    short = SHORT.get(model, ("--trainer.max_epochs", "4"))
    return fit_arguments(model, "digits", *short, "--checkpoint_every_n_steps", "7", "--name", "run", *others)


def assert_equal_runs(whole: Path, resumed: Path) -> None:
    expected, got = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, resumed))
    assert expected["global_step"] == got["global_step"]
    assert all(torch.equal(value, got["state_dict"][name]) for name, value in expected["state_dict"].items())
    assert (resumed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    with open(resumed / "metrics.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    assert not list(resumed.rglob("*.tmp"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_again_and_again_ends_like_one_that_was_not(tmp_path, model, processes):
    others = TWO if processes == 2 else ()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    finish(daezoo(tmp_path / "a", *arguments(model, *others)))
    run = Path("runs") / f"{model}-digits" / "run"
    dice = random.Random(f"{model}{processes}")
    process = daezoo(tmp_path / "b", *arguments(model, *others))
    for _ in range(3):
        # the first steps come some seconds after the start; then at any time, also while a checkpoint is written
        metrics = tmp_path / "b" / run / "metrics.csv"
        before = metrics.stat().st_mtime_ns if metrics.is_file() else 0
        while process.poll() is None and (metrics.stat().st_mtime_ns if metrics.is_file() else 0) == before:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 1))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = daezoo(tmp_path / "b", "fit", "--resume", str(run))
    finish(process)
    assert_equal_runs(tmp_path / "a" / run, tmp_path / "b" / run)


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_train_as_one_does(tmp_path, model):
    # plain SGD, because Adam divides by gradients' size and so makes rounding of vanishing ones visible
    exact = ("--model.optimizer", "SGD", "--model.optimizer.lr", "0.0001", "--trainer.precision", "32-true")
    for name, others in (("one", ()), ("two", TWO)):
        (tmp_path / name).mkdir()
        finish(daezoo(tmp_path / name, *arguments(model, *exact, *others)))
    run = Path("runs") / f"{model}-digits" / "run" / "checkpoints" / "last.ckpt"
    one, two = (torch.load(tmp_path / name / run, weights_only=True)["state_dict"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    # a limit on file size stands for the full disk: the checkpoint of a wide model is larger, everything before is not
    import resource

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    process = daezoo(tmp_path, *arguments("vanilla"), preexec_fn=limited)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "daezoo: error:" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "runs").rglob("last.ckpt"))
    assert not list((tmp_path / "runs").rglob("*.tmp"))
    output = finish(daezoo(tmp_path, "fit", "--resume", "runs/vanilla-digits/run"))
    assert "Resuming" in output


def test_ctrl_c_says_how_to_go_on(tmp_path):
    # tests that a shell started in the background ignore Ctrl-C, and would hand that on
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = daezoo(tmp_path, *fit_arguments("vanilla", "digits", "--trainer.max_epochs", "1000"), **heed)
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    os.kill(process.pid, signal.SIGINT)
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "daezoo fit --resume runs/vanilla-digits/1" in output
