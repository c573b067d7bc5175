"""Command lines, one after the other, in a process that is warm and has little memory."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path

MEMORY = 4 * 2**30
"""Bytes that the process may have."""
SECONDS = 200
"""Of CPU that a command may take; five times as much on the clock, which a busy machine lets run."""


def serve() -> None:
    """Run commands from stdin, and say on stdout how each ended: its exit status, or a traceback."""
    replies = os.fdopen(os.dup(1), "w")
    import daezoo.training  # noqa: F401
    from daezoo.cli import main

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    for line in sys.stdin:
        folder, args = json.loads(line)
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            with open(name, "wb") as file:
                os.dup2(file.fileno(), stream)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # which ends the process
        status: object
        try:
            status = main(args)
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            status = traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        sys.stderr.flush()
        print(json.dumps(status), file=replies, flush=True)


class Warm:
    """The process. Another has to take its place when a command ended badly in it."""

    def __init__(self) -> None:
        # a closed door in place of the network, so that nothing is downloaded anywhere
        nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "HTTP", "HTTPS")}
        names = ("DAEZOO_CACHE", "DAEZOO_DATA", "DAEZOO_SOURCE", "DAEZOO_OFFLINE")
        environment = {name: value for name, value in os.environ.items() if name not in names}
        environment |= nowhere | {"DAEZOO_CACHE": "cache", "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, folder: Path, args: list[str]) -> str:
        """Run a command in a folder; whether it ran, or refused with an error of ours.

        Raises:
            AssertionError: If it did neither, or code in a file was run.
        """
        assert self.process.stdin and self.process.stdout
        print(json.dumps([str(folder), args]), file=self.process.stdin, flush=True)
        said = select.select([self.process.stdout], [], [], 5 * SECONDS)[0] and self.process.stdout.readline()
        streams = [folder / name for name in ("stdout", "stderr")]
        output, errors = (file.read_text(errors="replace") if file.exists() else "" for file in streams)
        assert said, f"it took over {SECONDS} s, or its process died: {self.process.poll()} {args}\n{output}\n{errors}"
        return self.judge(json.loads(said), folder, args, output, errors)

    @staticmethod
    def judge(status: object, folder: Path, args: list[str], output: str, errors: str) -> str:
        """Whether a command ran or refused, by its exit status, which is a traceback if it had none, and what it said.

        Raises:
            AssertionError: If it did neither, or code in a file was run.
        """
        told = f"{args}\n{output}\n{errors}"
        assert not (folder / "ran").exists(), f"code in a file was run: {told}"
        assert "Traceback" not in output + errors, told
        if status in (0, None):
            return "ran"
        if status == 1 and args[:2] == ["zoo", "verify"]:
            assert "FAILED" in output, told
            return "refused"
        assert status == 2, f"{told}\n{status}"
        assert errors.splitlines()[-1].startswith("daezoo: error: "), told
        return "refused"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


@cache
def _warm() -> Warm:
    return Warm()


def run(folder: Path, args: list[str]) -> str:
    """As `Warm.run`, in a process that no command has spoiled."""
    try:
        return _warm().run(folder, args)
    except AssertionError:
        _warm().close()
        _warm.cache_clear()
        raise


if __name__ == "__main__":
    serve()
