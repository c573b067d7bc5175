"""How cells of a row take turns: each runs in a process of its own, a few steps at a time, when it is told to.

While one cell trains, the others sleep; turns are short, so that all cells share whatever else the machine does.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

SPAWN = get_context("forkserver")  # imports once; and unlike a fork of this process, a cell starts without its threads
SPAWN.set_forkserver_preload(["benchmarks.cells", "daezoo.training"])


class Turns:
    """A cell's side: call `step` before every training step.

    A turn's seconds run from one step's start to another's, so they hold whatever happens between steps.

    Args:
        parent: Where turns are granted, and reported.
        steps: Steps in a turn.
    """

    current: "Turns"
    """This process's."""

    def __init__(self, parent: Connection, steps: int) -> None:
        self.parent, self.steps = parent, steps
        self.done = 0
        self.start = 0.0

    def step(self) -> None:
        """Go on; between turns, report the one that is over, and wait for the next."""
        if self.done % self.steps == 0:
            if self.done:
                self.parent.send(clock() - self.start)
            try:
                self.parent.recv()
            except EOFError:  # there are no more turns
                os._exit(0)
            self.start = clock()
        self.done += 1


class Pace(Callback):
    """Makes a `Trainer.fit` take turns.

    Loading, corruption, logging, checkpoints and all that Lightning does at an epoch's end count; only the validation
    pass is taken off, which the loops it is compared with do not have.
    """

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """One more step."""
        Turns.current.step()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        Turns.current.start -= clock()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the clock go on."""
        Turns.current.start += clock()


class FirstStep(Callback):
    """Ends the process after the first training step."""

    def on_train_batch_end(self, *_: Any) -> None:
        """That was it."""
        clock()
        os._exit(0)


def clock() -> float:
    """Seconds, with everything that was started on a device finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


PATIENCE = 300
"""Seconds after which a turn hangs."""

Work = tuple[Callable[..., None], tuple[Any, ...]]


def race(cells: dict[str, Work], steps: int, rounds: int, turns: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of every round of every cell.

    Args:
        cells: What each cell calls, with its arguments; it takes turns by `Turns.current`.
        steps: Training steps in a turn; cells alternate after each turn.
        rounds: Rounds that count.
        turns: Turns in a round.
        warmup: Turns before the first round, which do not count.

    Raises:
        RuntimeError: If a cell ends before its rounds are over; what it printed is in the message.
    """
    seconds = {name: [0.0] * rounds for name in cells}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running = {
            name: stack.enter_context(_Cell(name, work, steps, Path(folder) / name.replace("/", "_")))
            for name, work in cells.items()
        }
        for turn in range(-warmup, rounds * turns):
            for name, cell in running.items():
                taken = cell.turn()
                if turn >= 0:
                    seconds[name][turn // turns] += taken
    return seconds


class _Cell:
    def __init__(self, name: str, work: Work, steps: int, log: Path) -> None:
        self.name, self.log = name, log
        self.connection, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_run, args=(other, steps, str(log), *work), daemon=False)
        self.process.start()
        other.close()

    def __enter__(self) -> "_Cell":
        return self

    def turn(self) -> float:
        """Let the cell run one turn: the seconds it took."""
        try:
            self.connection.send(None)
            if not self.connection.poll(PATIENCE):
                raise OSError
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.kill()
            printed = self.log.read_text()[-3000:]
            raise RuntimeError(f"{self.name} ended, or hung, before its rounds were over:\n{printed}") from None

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.process.kill()  # Lightning takes a SIGTERM for a wish, to be granted some day
        self.process.join()


def _run(parent: Connection, steps: int, log: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with open(log, "w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    Turns.current = Turns(parent, steps)
    work(*arguments)
