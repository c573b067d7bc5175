"""One process or several: the same samples, the same noise, the same curves, and no sample counted twice."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trainings import Command, arguments, run_of, several

from conftest import FAMILIES, fit_arguments
from daezoo.checkpoint import read

BOUND = 1e-5
"""Relative difference of losses, float32, between a batch summed by one process and by several."""


def curves(run: Path) -> dict[str, list[float]]:
    """The losses of metrics.csv."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0] if "/" in name}


@pytest.mark.slow
@pytest.mark.parametrize("model", FAMILIES)
def test_several_processes_train_as_one_does(tmp_path, model):
    # plain SGD, because Adam divides by gradients' size and so makes rounding of vanishing ones visible
    exact = ["--model.optimizer", "SGD", "--model.optimizer.lr", "0.0001", "--trainer.precision", "32-true"]
    seen, found, weights = {}, {}, {}
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        folder.mkdir()
        watched = [*exact, *several(processes), "--trainer.callbacks+=trainings.Seen"]
        Command(folder, arguments(model, *watched), processes).succeeds()
        parts = [load_file(folder / f"seen-{rank}.safetensors") for rank in range(processes)]
        # process r of w has every w-th sample of the batch, from r on
        seen[processes] = {name: torch.stack([part[name] for part in parts], 2).flatten(1, 2) for name in parts[0]}
        found[processes] = curves(run_of(folder, model))
        weights[processes] = read(run_of(folder, model) / "checkpoints" / "last.ckpt")["state_dict"]
    for processes in (2, 4):
        assert torch.equal(seen[processes]["index"], seen[1]["index"])
        assert torch.equal(seen[processes]["noisy"], seen[1]["noisy"])
        assert found[processes].keys() == found[1].keys()
        for name, losses in found[1].items():
            np.testing.assert_allclose(found[processes][name], losses, rtol=BOUND, err_msg=name)
        for name, value in weights[1].items():
            torch.testing.assert_close(weights[processes][name], value, rtol=BOUND, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [63, 5])
def test_evaluation_counts_every_sample_once(tmp_path, size):
    images = np.random.default_rng(0).random((100 + size, 20), dtype=np.float32)
    found = []
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        folder.mkdir()
        np.savez(folder / "data.npz", train_images=images, test_images=images[:size])
        share = ["--data.valid", str(size / len(images)), "--data.batch_size", "8", "--trainer.max_epochs", "1"]
        run = ["--data.path", "data.npz", *share, "--pictures", "false", "--name", "run", *several(processes)]
        plain = ["--trainer.precision", "32-true", "--model.optimizer", "SGD", "--model.optimizer.lr", "0.0001"]
        Command(folder, fit_arguments("vanilla", "arrays", *run, *plain), processes).succeeds()
        found.append(curves(folder / "runs" / "vanilla-arrays" / "run")["val/mse"])
    assert len(found[0]) == 1
    np.testing.assert_allclose(found[1], found[0], rtol=BOUND)
    np.testing.assert_allclose(found[2], found[0], rtol=BOUND)


@pytest.mark.slow
def test_a_split_with_too_few_samples_for_the_processes_is_refused(tmp_path):
    images = np.random.default_rng(0).random((100, 20), dtype=np.float32)
    np.savez(tmp_path / "data.npz", train_images=images, test_images=images[:3])
    args = ["--data.path", "data.npz", "--data.batch_size", "8", "--trainer.max_epochs", "1", *several(4)]
    message = Command(tmp_path, fit_arguments("vanilla", "arrays", *args), 4).refuses()
    assert "The test split has 3 samples, fewer than there are processes, 4." in message
