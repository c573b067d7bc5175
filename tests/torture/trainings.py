"""Commands of daezoo in processes of their own, to be killed, and what has to be true of what they leave."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file

from conftest import CONFIGS, fit_arguments
from daezoo.checkpoint import read
from daezoo.cli import main

HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
"""Where processes of their own find these modules, and conftest."""
SHORT = {
    "vanilla": ("--trainer.max_epochs", "3", "--model.hidden", "[100]"),
    "stacked": ("--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "1", "--model.hidden", "[60,60,60]"),
    "residual": ("--trainer.max_epochs", "3", "--model.network.widths", "[8,8]"),
    "conv": ("--trainer.max_epochs", "3", "--model.channels", "[8]"),
}


def several(processes: int) -> list[str]:
    """Options for so many processes."""
    if processes == 1:
        return []
    return ["--trainer.devices", str(processes), "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["daezoo.training", "daezoo.zoo.command", "lightning.pytorch.demos.boring_classes"])


class Announce(Callback):
    """Says in the file `stage` whether a training is at its steps or at a validation."""

    def on_train_start(self, *_: Any) -> None:
        Path("stage").write_text("steps")

    def on_validation_start(self, *_: Any) -> None:
        Path("stage").write_text("validation")

    def on_validation_end(self, *_: Any) -> None:
        Path("stage").write_text("steps")


class Seen(Callback):
    """Writes which samples a process trained on, and their noise, to seen-RANK.safetensors."""

    def __init__(self) -> None:
        self.index: list[torch.Tensor] = []
        self.noisy: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, *_: Any) -> None:
        self.index.append(batch.index)
        self.noisy.append(batch.noisy)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        seen = {"index": torch.stack(self.index), "noisy": torch.stack(self.noisy)}
        save_file(seen, f"seen-{trainer.global_rank}.safetensors")


def arguments(model: str, *others: str) -> list[str]:
    """A short training of a family on digits, with many checkpoints and validations: runs/MODEL-digits/run."""
    often = ["--trainer.log_every_n_steps", "1", "--checkpoint_every_n_steps", "4", "--trainer.val_check_interval", "5"]
    announced = "--trainer.callbacks+=trainings.Announce"
    named = ["--pictures", "false", "--name", "run"]
    command = fit_arguments(model, "digits", *SHORT[model], *often, announced, *named, *others)
    # an export refuses paths of this machine, so every folder gets a link
    return [part.replace(f"{CONFIGS}/", "configs/") for part in command]


def run_of(folder: Path, model: str) -> Path:
    """Where `arguments` puts the run."""
    return folder / "runs" / f"{model}-digits" / "run"


def _command(folder: Path, output: Path, args: list[str]) -> None:
    os.setsid()
    os.chdir(folder)
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background hands down that it is ignored
    os.environ["DAEZOO_CACHE"] = str(folder / "cache")
    raise SystemExit(main(args))


class Command:
    """A command of daezoo, started; its own session holds all processes that it starts.

    Args:
        folder: Where it runs, with a cache of its own.
        args: The command line.
        processes: How many it starts; one is forked from a process that has imported everything already.
        name: Of the file with its output.
        log: The folder of that file, if it is not to lie where the command runs.
    """

    def __init__(
        self, folder: Path, args: list[str], processes: int = 1, name: str = "output", log: Path | None = None
    ) -> None:
        self.folder, self.log = folder, (log or folder) / f"{name}.txt"
        if not (folder / "configs").exists():
            (folder / "configs").symlink_to(CONFIGS)
        if processes > 1:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}
            environment["DAEZOO_CACHE"] = str(folder / "cache")
            with open(self.log, "wb") as file:
                self._process: Any = subprocess.Popen(
                    [sys.executable, "-m", "daezoo", *args],
                    cwd=folder,
                    env=environment,
                    stdout=file,
                    stderr=file,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._wait: Callable[[float], object] = self._process.wait
        else:
            self._process = FORKS.Process(target=_command, args=(folder, self.log, args))
            self._process.start()
            self._wait = self._process.join
        self.pid: int = self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self, number: int = signal.SIGKILL, *, everyone: bool = True) -> None:
        """Send a signal to the first process, or to all of them."""
        for pid in members(self.pid) if everyone else [self.pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile

    def ended(self, seconds: float = 300) -> int:
        """Wait for its end, and for that of all its processes; the exit status."""
        self._wait(seconds)
        deadline = time.monotonic() + 60
        while left := members(self.pid):
            if time.monotonic() > deadline or self.status is None:
                self.kill()
                raise AssertionError(f"Processes {left} did not end:\n{self.output}")
            time.sleep(0.05)
        assert self.status is not None
        return self.status

    def succeeds(self) -> str:
        """Wait for its end, which has to be a good one; the output."""
        assert self.ended() == 0, self.output
        return self.output

    def refuses(self) -> str:
        """Wait for its end, which has to be an error of use; the output."""
        status = self.ended()
        assert status == 2, f"status {status}\n{self.output}"
        assert "daezoo: error:" in self.output and "Traceback" not in self.output, self.output
        return self.output


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, *rest = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if int(rest[2]) == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def wait_for(command: Command, condition: Callable[[], bool]) -> bool:
    """Wait until something is true or the command has ended; whether it is true."""
    while command.status is None:
        if condition():
            return True
        time.sleep(0.0005)
    return False


def says(folder: Path, stage: str) -> bool:
    """Whether a training in a folder says that it is at a stage."""
    file = folder / "stage"
    return file.exists() and file.read_text() == stage


def assert_whole(run: Path) -> None:
    """What holds of a run folder at any time: each file is complete or absent."""
    last, metrics = run / "checkpoints" / "last.ckpt", run / "metrics.csv"
    if last.exists():
        step = read(last)["global_step"]
        assert step <= steps_of(metrics)[-1], "a checkpoint is ahead of metrics.csv"
    elif metrics.exists():
        steps_of(metrics)


def steps_of(metrics: Path) -> list[int]:
    """The steps in metrics.csv, which rise, each row being complete."""
    with open(metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row and None not in row.values() for row in rows), "a row is torn"
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps)), "steps are missing or double"
    return steps


def assert_equal_runs(whole: Path, other: Path) -> None:
    """Weights, moments of the optimizer and metrics are equal bit for bit, and nothing was left behind."""
    expected, got = (read(run / "checkpoints" / "last.ckpt") for run in (whole, other))
    assert expected["global_step"] == got["global_step"]
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(got[part], expected[part], rtol=0, atol=0, equal_nan=True)
    assert (other / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert (other / "summary.json").is_file()
    assert not list(other.rglob("*.tmp"))


@contextmanager
def disk(folder: Path, kib: int) -> Iterator[Callable[..., None]]:
    """A disk of so many KiB at a folder; called with `kib` or `ro`, it is mounted anew. Needs the right to mount."""
    folder.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "daezoo", str(folder)], check=True)

    mount(f"size={kib}k")
    try:
        yield lambda *options: mount("remount", *options)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
