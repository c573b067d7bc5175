"""Trainings that begin with the weights of another."""

import shutil
from pathlib import Path

import pytest
import torch

from conftest import fit_arguments
from daezoo.checkpoint import read

SHORT = ("--pictures", "false", "--trainer.max_steps", "2", "--trainer.max_epochs", "1")
STILL = ("--model.optimizer", "SGD", "--model.optimizer.lr", "1e-30")


@pytest.fixture
def trained(daezoo_command, workplace) -> Path:
    status, _, err = daezoo_command(*fit_arguments("vanilla", "digits", *SHORT, "--name", "first"))
    assert status == 0, err
    return Path("runs/vanilla-digits/first")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read(run / "checkpoints" / "last.ckpt")["state_dict"]


def test_the_first_step_sees_the_other_weights(daezoo_command, trained):
    options = (*SHORT, *STILL, "--seed_everything", "7", "--name", "next", "--start_from", str(trained))
    status, _, err = daezoo_command(*fit_arguments("vanilla", "digits", *options))
    assert status == 0, err
    found = weights(trained.with_name("next"))
    for name, value in weights(trained).items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-20)  # of those that were 0
    assert read(trained.with_name("next") / "checkpoints" / "last.ckpt")["global_step"] == 2


def test_a_run_that_is_resumed_goes_on_with_its_own(daezoo_command, trained):
    options = (*SHORT, "--name", "next", "--start_from", str(trained))
    status, _, err = daezoo_command(*fit_arguments("vanilla", "digits", *options))
    assert status == 0, err
    later = trained.with_name("next")
    (later / "summary.json").unlink()
    before = weights(later)
    shutil.rmtree(trained)
    status, _, err = daezoo_command("fit", "--resume", str(later))
    assert status == 0, err
    assert all(torch.equal(value, weights(later)[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("vanilla", ("--model.hidden", "[7]"), "The weights of runs/vanilla-digits/first do not fit this model"),
        ("conv", (), "runs/vanilla-digits/first is a VanillaDAE; its weights cannot begin a ConvDAE"),
        ("vanilla", ("--start_from", "vanilla.unknown"), "vanilla.unknown"),
        ("vanilla", ("--start_from", ""), "no checkpoint"),
        ("vanilla", ("--start_from", "gone"), "There is no checkpoint or run folder gone"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(daezoo_command, trained, model, options, said):
    options = ("--start_from", str(trained), *SHORT, "--name", "next", *options)
    status, _, err = daezoo_command(*fit_arguments(model, "digits", *options))
    assert status == 2
    assert said in err
    assert not list(Path("runs").rglob("next"))
