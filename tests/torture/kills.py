"""Trainings and exports that are killed, or told to stop, at random moments, and go on."""

import os
import random
import signal
import tempfile
import time
from functools import cache, partial
from pathlib import Path

from campaign import Campaign
from trainings import (
    Command,
    arguments,
    assert_equal_runs,
    assert_whole,
    run_of,
    says,
    several,
    wait_for,
)

from conftest import FAMILIES
from daezoo.runs import summary_of

MOMENTS = ("steps", "validation", "writing")


@cache
def reference(model: str, processes: int = 1) -> tuple[Path, float]:
    """A run that nobody disturbed, and how many seconds it trained."""
    folder = Path(tempfile.mkdtemp(prefix="daezoo-reference-"))
    Command(folder, _arguments(model, processes), processes).succeeds()
    run = run_of(folder, model)
    return run, (summary_of(run) or {})["seconds"]


def _arguments(model: str, processes: int) -> list[str]:
    return arguments(model, *several(processes))


def _resume(folder: Path, run: Path) -> list[str]:
    return ["fit", "--resume", str(run.relative_to(folder))]


def disturb(command: Command, run: Path, dice: random.Random, seconds: float, number: int, *, everyone: bool) -> str:
    """Send a signal at a random moment; at which, or that it came too late."""
    moment = dice.choice(MOMENTS)
    if not wait_for(command, lambda: says(command.folder, "steps")):
        return "ended before"
    time.sleep(dice.uniform(0, 0.8 * seconds))
    temporary = run / "checkpoints"
    at = {
        "steps": lambda: says(command.folder, "steps"),
        "validation": lambda: says(command.folder, "validation"),
        "writing": lambda: temporary.is_dir() and any(name.endswith(".tmp") for name in os.listdir(temporary)),
    }[moment]
    if not wait_for(command, at):
        return "ended before"
    command.kill(number, everyone=everyone)
    return moment


def killed(folder: Path, number: int, model: str, processes: int) -> str:
    """Kill a training once or twice, go on with it, and compare it with one that nobody disturbed."""
    whole, seconds = reference(model, processes)
    dice = random.Random(f"kill {model} {processes} {number}")
    run = run_of(folder, model)
    command = Command(folder, _arguments(model, processes), processes)
    moments = []
    for _ in range(dice.choice((1, 2))):
        # of two processes the second has to notice by itself that the first is gone
        moments.append(disturb(command, run, dice, seconds, signal.SIGKILL, everyone=dice.random() < 0.5))
        command.ended()
        assert_whole(run)
        command = Command(folder, _resume(folder, run), processes)
    command.succeeds()
    assert_equal_runs(whole, run)
    return "resumed" if set(moments) & set(MOMENTS) else "ended before"


def told(folder: Path, number: int, processes: int) -> str:
    """Send SIGTERM or Ctrl-C to a training, and go on with it."""
    model = FAMILIES[number % len(FAMILIES)]
    whole, seconds = reference(model, processes)
    dice = random.Random(f"signal {processes} {number}")
    run = run_of(folder, model)
    command = Command(folder, _arguments(model, processes), processes)
    sent = dice.choice((signal.SIGTERM, signal.SIGINT))
    # Ctrl-C reaches all processes of a terminal; schedulers send SIGTERM to the first or to all
    moment = disturb(command, run, dice, seconds, sent, everyone=sent == signal.SIGINT or dice.random() < 0.5)
    status = command.ended()
    if moment == "ended before" or status == 0:
        assert status == 0, command.output
        return "ended before"
    assert status == 128 + sent, f"status {status}\n{command.output}"
    assert f"To go on: daezoo fit --resume {run.relative_to(folder)}" in command.output
    assert "Traceback" not in command.output, command.output
    assert_whole(run)
    Command(folder, _resume(folder, run), processes).succeeds()
    assert_equal_runs(whole, run)
    return "resumed"


def export_killed(folder: Path, number: int) -> str:
    """Kill an export; entry and weights are there as a whole, or the next export makes them."""
    run, _ = reference("vanilla")
    dice = random.Random(f"export {number}")
    made = folder / "zoo"
    args = ["zoo", "export", str(run), "--name", "vanilla.killed", "--dest", str(made)]
    command = Command(folder, args)
    wait_for(command, lambda: made.is_dir())
    time.sleep(dice.uniform(0, 0.05))
    ended = command.status is not None
    command.kill()
    command.ended()
    whole = (made / "vanilla.killed.yaml").exists()
    if whole:
        Command(folder, ["zoo", "verify", "vanilla.killed", "--source", str(made)]).succeeds()
    Command(folder, [*args, "--force"]).succeeds()
    Command(folder, ["zoo", "verify", "vanilla.killed", "--source", str(made)]).succeeds()
    assert not list(made.rglob("*.tmp"))
    return "ended before" if ended else "exported again"


CAMPAIGNS = [
    *(
        Campaign(f"SIGKILL, {model}, {words}", tries, sample, partial(killed, model=model, processes=processes))
        for processes, words, tries, sample in ((1, "1 process", 50, 11), (2, "2 processes", 12, 2))
        for model in FAMILIES
    ),
    Campaign("SIGTERM or Ctrl-C, 1 process", 40, 4, partial(told, processes=1)),
    Campaign("SIGTERM or Ctrl-C, 2 processes", 10, 2, partial(told, processes=2)),
    Campaign("SIGKILL while exporting", 30, 4, export_killed),
]
