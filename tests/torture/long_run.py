"""`python tests/torture/long_run.py [MINUTES]`: a training whose memory, files and disk are looked at as it goes."""

import csv
import io
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from reliability import LONG_RUN, render
from trainings import Command, arguments, members, says, wait_for

from daezoo.files import write_text

ROTATING = "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"
OPTIONS = (
    "save_top_k=3",
    "monitor=step",
    "mode=max",
    "every_n_train_steps=150",
    "dirpath=runs/rotating",
)


def sample(command: Command, folder: Path, started: float) -> dict[str, str]:
    """What a training takes now, with all its processes."""
    pages = files = 0
    for pid in members(command.pid):
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files += len(os.listdir(f"/proc/{pid}/fd"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "seconds": f"{time.monotonic() - started:.0f}",
        "memory_mib": f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f}",
        "files": str(files),
        "disk_mib": f"{size / 2**20:.2f}",
    }


if __name__ == "__main__":
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory(prefix="daezoo-long-") as name:
        folder = Path(name)
        rotating = [ROTATING, *(f"--trainer.callbacks.{option}" for option in OPTIONS)]
        args = arguments("vanilla", "--trainer.max_epochs", "1000000", *rotating, "--checkpoint_every_n_steps", "100")
        args += ["--trainer.val_check_interval", "1.0", "--trainer.log_every_n_steps", "50"]
        command = Command(folder, args)
        wait_for(command, lambda: says(folder, "steps"))
        started, rows = time.monotonic(), []
        while command.status is None and time.monotonic() - started < 60 * minutes:
            time.sleep(10)
            try:
                rows.append(sample(command, folder / "runs", started))
            except FileNotFoundError:  # a temporary file that was renamed meanwhile
                continue
        command.kill(signal.SIGTERM, everyone=False)
        assert command.ended() == 143, command.output
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(LONG_RUN, text.getvalue())
    render()
