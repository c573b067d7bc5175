"""Disks that are full or read-only, data that changes, losses and processes that go wrong."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
from campaign import Campaign
from kills import reference
from safetensors.torch import load_file
from trainings import Command, arguments, assert_equal_runs, assert_whole, disk, members, run_of, says, wait_for

from conftest import fit_arguments
from daezoo.checkpoint import read

RESUME = ["fit", "--resume", "runs/vanilla-digits/run"]


def disk_full(folder: Path, number: int) -> str:
    """A training on a disk that fills up; with more room it goes on."""
    whole, _ = reference("vanilla")
    room = random.Random(f"full {number}").randint(10, 120)
    with disk(folder / "disk", room) as remount:
        command = Command(folder / "disk", arguments("vanilla"), log=folder)
        if command.ended() == 0:
            return "had room"
        assert "No space left on device" in command.refuses()
        run = run_of(folder / "disk", "vanilla")
        assert not list(run.rglob("*.tmp"))
        begun = (run / "config.yaml").exists()
        assert_whole(run)
        remount("size=64m")
        if begun:
            Command(folder / "disk", RESUME, log=folder).succeeds()
            assert_equal_runs(whole, run)
    return "refused, resumed" if begun else "refused"


def disk_full_export(folder: Path, number: int) -> str:
    """An export onto a disk that fills up: nothing is there, or all of it."""
    run, _ = reference("vanilla")
    with disk(folder / "zoo", random.Random(f"export {number}").randint(4, 60)) as remount:
        args = ["zoo", "export", str(run), "--name", "vanilla.full", "--dest", str(folder / "zoo")]
        command = Command(folder, args)
        if command.ended() == 0:
            return "had room"
        assert "No space left on device" in command.refuses()
        assert not list((folder / "zoo").glob("*.tmp")) and not (folder / "zoo" / "vanilla.full.yaml").exists()
        remount("size=64m")
        Command(folder, args).succeeds()
        Command(folder, ["zoo", "verify", "vanilla.full", "--source", str(folder / "zoo")]).succeeds()
    return "refused, exported again"


def disk_full_cache(folder: Path, number: int) -> str:
    """A data set that is generated into a cache on a full disk: it trains, and says why nothing is kept."""
    with disk(folder / "cache", random.Random(f"cache {number}").randint(4, 2000)) as remount:
        command = Command(folder, shapes())
        command.succeeds()
        assert "Generated images are not kept" in command.output, command.output
        files = [path for path in (folder / "cache").rglob("*") if path.is_file()]
        assert not [file for file in files if "generated" in file.parts], files
        remount("size=64m")
        Command(folder, shapes("--name", "again"), name="again").succeeds()
        kept = list((folder / "cache" / "generated").glob("*.safetensors"))
        assert len(kept) == 1 and load_file(kept[0])
    return "trained"


def shapes(*others: str) -> list[str]:
    """A step on a data set that is generated."""
    small = ("--data.train", "3000", "--data.test", "1000", "--trainer.max_steps", "2", "--pictures", "false")
    return fit_arguments("vanilla", "shapes", *small, *(others or ("--name", "run")))


def read_only(folder: Path, number: int) -> str:
    """A run folder on a disk that becomes read-only while it trains, or was so from the start."""
    whole, seconds = reference("vanilla")
    with disk(folder / "disk", 65536) as remount:
        run = run_of(folder / "disk", "vanilla")
        if number % 2:
            (folder / "disk" / "configs").symlink_to(Path(__file__).parents[2] / "configs")
            remount("ro")
            command = Command(folder / "disk", arguments("vanilla"), log=folder)
        else:
            command = Command(folder / "disk", arguments("vanilla"), log=folder)
            wait_for(command, lambda: says(folder / "disk", "steps"))
            time.sleep(random.Random(number).uniform(0, 0.8 * seconds))
            while command.status is None:
                try:
                    remount("ro")
                    break
                except Exception:  # a file is just being written: the disk is busy
                    time.sleep(0.001)
        if command.ended() == 0:
            return "ended before"
        assert "Read-only file system" in command.refuses()
        assert_whole(run)
        assert "Read-only file system" in Command(folder / "disk", RESUME, log=folder).refuses() or number % 2
        remount("rw")
        begun = (run / "config.yaml").exists()
        Command(folder / "disk", RESUME if begun else arguments("vanilla"), log=folder).succeeds()
        assert_equal_runs(whole, run)
    return "refused, resumed"


def arrays(*others: str) -> list[str]:
    """A training on data.npz that a signal stops."""
    small = ("--data.batch_size", "16", "--model.hidden", "[16]", "--pictures", "false", "--name", "run")
    often = ("--checkpoint_every_n_steps", "3", "--trainer.log_every_n_steps", "1")
    announced = "--trainer.callbacks+=trainings.Announce"
    return fit_arguments("vanilla", "arrays", "--data.path", "data.npz", *small, *often, announced, *others)


def data_changed(folder: Path, number: int) -> str:
    """A data file that is truncated, or of which one value changes, between a run and its resumption."""
    dice = np.random.default_rng(number)
    images = dice.random((300, 20), dtype=np.float32)
    np.savez(folder / "data.npz", train_images=images, test_images=images[:20])
    good = (folder / "data.npz").read_bytes()
    Command(folder, arrays("--trainer.max_epochs", "6", "--name", "whole")).succeeds()
    (folder / "stage").unlink()
    command = Command(folder, arrays("--trainer.max_epochs", "6"))
    wait_for(command, lambda: says(folder, "steps"))
    time.sleep(0.1)
    command.kill(signal.SIGTERM)
    resume = ["fit", "--resume", "runs/vanilla-arrays/run"]
    if command.ended() == 0:
        return "ended before"
    assert command.status == 143, command.output
    if number % 2:
        (folder / "data.npz").write_bytes(good[: int(dice.integers(len(good)))])
        assert "data.npz" in Command(folder, resume).refuses()
    else:
        images.flat[dice.integers(images.size)] = dice.random()
        np.savez(folder / "data.npz", train_images=images, test_images=images[:20])
        message = Command(folder, resume).refuses()
        assert "its fingerprint was" in message and "--force" in message, message
    (folder / "data.npz").write_bytes(good)
    Command(folder, resume).succeeds()
    runs = folder / "runs" / "vanilla-arrays"
    assert_equal_runs(runs / "whole", runs / "run")
    return "refused, resumed"


def not_finite(folder: Path, number: int) -> str:
    """A training that diverges; its checkpoint is from before, and finite."""
    dice = random.Random(number)
    rate = f"1e{dice.randint(15, 38)}"
    args = arguments("vanilla", "--model.optimizer", dice.choice(("SGD", "AdamW")), "--model.optimizer.lr", rate)
    args += ["--model.loss", "SquaredError", "--trainer.precision", "32-true"]
    command = Command(folder, args)
    if command.ended() == 0:
        return "stayed finite"
    message = command.refuses()
    assert "not finite" in message and "--not_finite skip" in message, message
    last = run_of(folder, "vanilla") / "checkpoints" / "last.ckpt"
    if last.exists():
        assert str(last.relative_to(folder)) in message
        assert all(value.isfinite().all() for value in read(last)["state_dict"].values())
    return "stopped"


def worker_killed(folder: Path, number: int) -> str:
    """A process that loads data is killed, as the kernel does where memory runs out."""
    whole, seconds = reference("vanilla")
    command = Command(folder, arguments("vanilla", "--data.num_workers", "2"), 3)
    wait_for(command, lambda: says(folder, "steps") and len(loaders(command)) > 0)
    time.sleep(random.Random(number).uniform(0, seconds))
    for pid in loaders(command)[:1]:
        os.kill(pid, signal.SIGKILL)
    if command.ended() == 0:
        return "ended before"
    message = command.output  # the other loading process may add how it ended
    assert command.status == 2 and "daezoo: error: A process that loads data was killed" in message, message
    assert "--data.num_workers" in message, message
    assert_whole(run_of(folder, "vanilla"))
    Command(folder, RESUME).succeeds()
    assert_equal_runs(whole, run_of(folder, "vanilla"))
    return "refused, resumed"


def loaders(command: Command) -> list[int]:
    """The processes of a training but the first."""
    return [pid for pid in members(command.pid) if pid != command.pid]


CAMPAIGNS = [
    Campaign("disk full while training", 20, 3, disk_full),
    Campaign("disk full while exporting", 20, 2, disk_full_export),
    Campaign("disk full while a data set is prepared", 20, 2, disk_full_cache),
    Campaign("run folder read-only", 20, 2, read_only),
    Campaign("data file truncated or changed", 20, 2, data_changed),
    Campaign("loss not finite", 20, 3, not_finite),
    Campaign("loading process killed", 20, 2, worker_killed),
]
