"""Trainings that stop before their end, by a signal or a loss that is not finite, and what --resume then does."""

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import fit_arguments
from daezoo.models import DenoisingAutoencoder
from daezoo.stopping import SIGNALS

RUN = Path("runs/vanilla-arrays/run")


def values(rows: int = 60) -> np.ndarray:
    return np.random.default_rng(0).random((rows, 6), dtype=np.float32)


def arguments(*others: str) -> list[str]:
    np.savez("data.npz", train_images=values(), test_images=values(8))
    small = ("--data.batch_size", "8", "--model.hidden", "[4]", "--trainer.max_epochs", "3", "--pictures", "false")
    every = ("--trainer.log_every_n_steps", "1", "--checkpoint_every_n_steps", "2", "--trainer.precision", "32-true")
    return fit_arguments("vanilla", "arrays", "--data.path", "data.npz", *small, *every, "--name", "run", *others)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[torch.Tensor], object]], None]:
    """Do something to the loss of a step, once."""

    def hook(step: int, act: Callable[[torch.Tensor], object]) -> None:
        original = DenoisingAutoencoder.training_step
        done: list[int] = []

        def training_step(self: DenoisingAutoencoder, batch: object, batch_idx: int) -> torch.Tensor:
            loss = original(self, batch, batch_idx)
            if self.trainer.global_step + 1 == step and not done:
                done.append(step)
                changed = act(loss)
                return changed if isinstance(changed, torch.Tensor) else loss
            return loss

        monkeypatch.setattr(DenoisingAutoencoder, "training_step", training_step)

    return hook


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGTERM, 9),  # of 6 steps an epoch, and a validation after every third
        *(pytest.param(number, step, marks=pytest.mark.slow) for number in SIGNALS for step in (4, 6, 18)),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(daezoo_command, at_step, step, number):
    within = ("--trainer.val_check_interval", "3")
    assert daezoo_command(*arguments(*within, "--name", "whole"))[0] == 0
    handler = signal.getsignal(number)
    at_step(step, lambda loss: os.kill(os.getpid(), number))
    status, _, errors = daezoo_command(*arguments(*within))
    assert status == 128 + number
    assert f"Stopped by {number.name} after step {step}, saved. To go on: daezoo fit --resume {RUN}" in errors
    assert torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == step
    assert signal.getsignal(number) is handler
    status, output, _ = daezoo_command("fit", "--resume", str(RUN))
    assert status == 0 and "Resuming" in output
    assert_equal_runs(RUN.with_name("whole"), RUN)


def test_a_second_signal_stops_at_once(daezoo_command, at_step):
    at_step(3, lambda loss: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    status, _, errors = daezoo_command(*arguments())
    assert status == 130
    assert f"Interrupted. To go on: daezoo fit --resume {RUN}" in errors
    assert torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


@pytest.mark.parametrize(
    "interval", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_no_validation_is_lost_where_a_checkpoint_falls_on_its_step(daezoo_command, at_step, interval):
    within = ("--trainer.val_check_interval", str(interval))
    assert daezoo_command(*arguments(*within, "--name", "whole"))[0] == 0

    def die(loss: torch.Tensor) -> None:
        raise RuntimeError("as if killed")

    at_step(5, die)
    with pytest.raises(RuntimeError, match=r"Training failed\. To go on"):
        daezoo_command(*arguments(*within))
    assert daezoo_command("fit", "--resume", str(RUN))[0] == 0
    with open(RUN / "metrics.csv", newline="") as file:
        validated = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]
    per_epoch = 54 // 8
    due = [e * per_epoch + step for e in range(3) for step in range(interval, per_epoch + 1, interval)]
    assert validated == due
    assert_equal_runs(RUN.with_name("whole"), RUN)


def test_a_loss_that_is_not_finite_stops_before_it_reaches_a_checkpoint(daezoo_command, at_step):
    at_step(4, lambda loss: loss * float("inf"))
    status, _, errors = daezoo_command(*arguments())
    assert status == 2
    assert "The loss is not finite at step 4; the last finite one was " in errors
    assert f", at step 3. {RUN}/checkpoints/last.ckpt is of step 2." in errors
    assert f"--not_finite skip. To go on: daezoo fit --resume {RUN}" in errors
    assert all(value.isfinite().all() for value in weights(RUN).values())


def test_a_first_loss_that_is_not_finite(daezoo_command, at_step):
    at_step(1, lambda loss: loss * float("nan"))
    status, _, errors = daezoo_command(*arguments())
    assert status == 2
    assert "not finite at step 1; none was finite before. There is no checkpoint yet." in errors


def test_weights_that_are_not_finite_reach_no_checkpoint(daezoo_command, at_step):
    def overflow(loss: torch.Tensor) -> torch.Tensor:
        loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss * 1.0

    at_step(2, overflow)
    # a finite loss whose gradient is not: the hook stands on the loss that was scaled
    status, _, errors = daezoo_command(*arguments())
    assert status == 2
    assert "Weights are not finite after step 2. There is no checkpoint yet." in errors
    assert not (RUN / "checkpoints" / "last.ckpt").exists()


def test_a_step_that_is_not_finite_can_be_skipped(daezoo_command, at_step):
    at_step(4, lambda loss: loss * float("nan"))
    status, _, errors = daezoo_command(*arguments("--not_finite", "skip"))
    assert status == 0
    assert "Skipped step 4: not finite; 1 in all so far." in errors
    assert json.loads((RUN / "summary.json").read_text())["skipped_steps"] == 1
    assert all(value.isfinite().all() for value in weights(RUN).values())


def test_data_that_changed_meanwhile_is_refused_unless_forced(daezoo_command, at_step):
    at_step(5, lambda loss: os.kill(os.getpid(), signal.SIGTERM))
    assert daezoo_command(*arguments())[0] == 143
    was = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)["ArraysData"]["fingerprint"]
    changed = values()
    changed[0, 0] /= 2
    np.savez("data.npz", train_images=changed, test_images=values(8))
    status, _, errors = daezoo_command("fit", "--resume", str(RUN))
    assert status == 2
    assert f"its fingerprint was {was[:16]}, and is now " in errors
    assert daezoo_command("fit", "--resume", str(RUN), "--force")[0] == 0
    assert "force" not in (RUN / "config.yaml").read_text()


def test_resume_auto_begins_goes_on_and_is_content(daezoo_command, at_step):
    assert daezoo_command(*arguments("--name", "whole"))[0] == 0
    at_step(5, lambda loss: os.kill(os.getpid(), signal.SIGTERM))
    assert daezoo_command(*arguments("--resume", "auto"))[0] == 143
    status, _, errors = daezoo_command(*arguments("--resume", "auto", "--model.hidden", "[5]"))
    assert status == 2
    assert f"{RUN} was begun with model.init_args.hidden [4], and is to go on with [5]." in errors
    status, output, _ = daezoo_command(*arguments("--resume", "auto"))
    assert status == 0 and "Resuming" in output
    assert_equal_runs(RUN.with_name("whole"), RUN)
    status, output, _ = daezoo_command(*arguments("--resume", "auto"))
    assert status == 0 and "is finished: 3 epochs, 18 steps. Nothing to do." in output


def test_resume_auto_takes_a_folder_that_was_killed_before_it_had_a_configuration(daezoo_command):
    RUN.mkdir(parents=True)
    assert daezoo_command(*arguments("--resume=auto", "--trainer.max_epochs", "1"))[0] == 0


def test_resume_auto_needs_a_name(daezoo_command):
    status, _, errors = daezoo_command(*fit_arguments("vanilla", "digits", "--resume", "auto"))
    assert status == 2 and "pass --name NAME" in errors


def test_force_is_for_going_on(daezoo_command):
    status, _, errors = daezoo_command(*arguments("--force"))
    assert status == 2 and "--force is for --resume RUN" in errors
