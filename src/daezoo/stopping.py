"""SIGTERM and Ctrl-C: save at the end of the step, and stop."""

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

PARENT = "DAEZOO_PARENT"
"""Environment variable: the process that starts the others of a group."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def largest(trainer: L.Trainer, value: float) -> float:
    """The largest of a value over all processes, which all have to ask at the same step.

    The strategy's own `reduce` waits at a barrier, too.
    """
    if not torch.distributed.is_initialized():
        return value
    tensor = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
    return tensor.item()


def end_together() -> None:
    """On Linux, have this process killed when the one that started it for a group ends, however that ends.

    Else it could wait for half an hour for the first process of the group to come up.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ[PARENT] = str(os.getpid())
    elif sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        started_by = None if "TORCHELASTIC_RUN_ID" in os.environ else os.environ.get(PARENT)
        if started_by not in (None, str(os.getppid())):  # it ended already
            os.kill(os.getpid(), signal.SIGKILL)


class Stopped(SystemExit):
    """A training that a signal stopped, after its checkpoint was written; the exit status is 128 + the signal.

    Processes other than the first end with status 0, so that whoever watches them does not kill the first.
    """

    def __init__(self, number: int, first: bool) -> None:
        super().__init__(128 + number if first else 0)
        self.signal = signal.Signals(number)


class Stopping(Callback):
    """Heeds the first SIGTERM or Ctrl-C at the end of the step, on all processes at once; a second one stops at once.

    A scheduler that takes a machine back sends SIGTERM, and SIGKILL half a minute or more later. Lightning's own
    handler leaves the training without a checkpoint.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the handlers in place; Lightning's are by now, and it puts back what was there before its own."""
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            for each, handler in self._before.items():
                signal.signal(each, handler)
            raise KeyboardInterrupt  # which Lightning takes as the end, with all its processes
        self.signal = number

    def wanted(self, trainer: L.Trainer) -> bool:
        """Whether any process was told to stop."""
        return bool(largest(trainer, float(self.signal)))

    def stop(self, trainer: L.Trainer) -> NoReturn:
        """Stop, here and now.

        Raises:
            Stopped: Always.
        """
        raise Stopped(self.signal or signal.SIGTERM, trainer.is_global_zero)
