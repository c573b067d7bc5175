"""Two commands at once that want the same name."""

import random
import time
from pathlib import Path

from campaign import Campaign
from faults import shapes
from kills import reference
from safetensors.torch import load_file
from trainings import Command, arguments, assert_equal_runs, run_of

from daezoo.checkpoint import read


def both(folder: Path, first: list[str], second: list[str], number: int) -> tuple[Command, Command]:
    """Two commands, the second up to half a second after the first, at their end."""
    one = Command(folder, first, name="one")
    time.sleep(random.Random(number).choice((0, 0, 0.01, 0.1, 0.5)))
    two = Command(folder, second, name="two")
    one.ended(), two.ended()
    return one, two


def two_trainings(folder: Path, number: int) -> str:
    """Two trainings of one name, or two resumptions of one run: one of them trains."""
    whole, _ = reference("vanilla")
    run = run_of(folder, "vanilla")
    args = arguments("vanilla")
    if number % 2:
        stopped = Command(folder, [*args, "--trainer.max_epochs", "1"])
        stopped.succeeds()
        (run / "summary.json").unlink()
        args = ["fit", "--resume", str(run.relative_to(folder)), "--trainer.max_epochs", "3"]
    commands = both(folder, args, args, number)
    losers = [command for command in commands if command.status]
    if number % 2 and not losers:
        assert any("is finished" in command.output or "Resuming" in command.output for command in commands)
        outcome = "one after the other"
    else:
        assert len(losers) == 1, "\n".join(command.output for command in commands)
        message = losers[0].refuses()
        taken = f"The run folder {run.relative_to(folder)} exists"
        assert "Another process is training in" in message or taken in message, message
        outcome = "one won"
    assert_equal_runs(whole, run)
    return outcome


def two_preparations(folder: Path, number: int) -> str:
    """Two trainings that both generate the same data set."""
    commands = both(folder, shapes("--name", "one"), shapes("--name", "two"), number)
    for command in commands:
        command.succeeds()
    kept = list((folder / "cache" / "generated").iterdir())
    assert len(kept) == 1 and load_file(kept[0]), kept
    states = [read(folder / "runs" / "vanilla-shapes" / name / "checkpoints" / "last.ckpt") for name in ("one", "two")]
    assert all((states[0]["state_dict"][name] == value).all() for name, value in states[1]["state_dict"].items())
    return "both"


def two_exports(folder: Path, number: int) -> str:
    """Two exports of one name: one is there, as a whole, and the other is refused."""
    run, _ = reference("vanilla")
    args = ["zoo", "export", str(run), "--name", "vanilla.two", "--dest", str(folder / "zoo")]
    commands = both(folder, [*args, "--description", "first"], [*args, "--description", "second"], number)
    losers = [command for command in commands if command.status]
    assert len(losers) == 1, "\n".join(command.output for command in commands)
    losers[0].refuses()
    Command(folder, ["zoo", "verify", "vanilla.two", "--source", str(folder / "zoo")]).succeeds()
    winner = "second" if losers[0] is commands[0] else "first"
    assert f"description: {winner}" in (folder / "zoo" / "vanilla.two.yaml").read_text()
    assert not list((folder / "zoo").glob("*.tmp"))
    return "one won"


CAMPAIGNS = [
    Campaign("two trainings in one folder", 20, 4, two_trainings),
    Campaign("two preparations of one data set", 20, 2, two_preparations),
    Campaign("two exports of one name", 20, 3, two_exports),
]
