"""Two nodes: network namespaces with addresses of their own, a group of torchrun across them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from campaign import Campaign
from kills import reference
from trainings import CONFIGS, PATHS, arguments, assert_equal_runs, assert_whole, run_of, says

ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def network() -> Iterator[list[str]]:
    """Two network namespaces with a cable between them; their names."""
    names = [f"daezoo{os.getpid()}{letter}" for letter in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            for link in ("lo", "cable"):
                ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            # else an agent waits for an answer through a cut cable for a quarter of an hour, see docs/scaling.md
            ip("netns", "exec", name, "sysctl", "-w", "net.ipv4.tcp_retries2=5")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


class Node:
    """An agent of torchrun on a node, with its process of the group.

    Args:
        folder: Where it runs, a disk that both share.
        name: The namespace.
        address: Its own.
        log: Name of the file with its output.
    """

    def __init__(self, folder: Path, name: str, address: str, log: str) -> None:
        self.log = folder / f"{log}.txt"
        group = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--local-addr", address]
        group += ["--rdzv-backend", "c10d", "--rdzv-id", "daezoo", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400"]
        # the machine's name leads to neither address, so torchrun cannot tell which of them is the endpoint's
        group += ["--rdzv-conf", f"join_timeout=60,is_host={int(address == ADDRESSES[0])}"]
        strategy = ["--trainer.strategy", "DDPStrategy", "--trainer.strategy.timeout", "0:00:15"]
        nodes = ["--trainer.num_nodes", "2", "--trainer.accelerator", "cpu", *strategy, "--resume", "auto"]
        environment = os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
        environment |= {"GLOO_SOCKET_IFNAME": "cable", "DAEZOO_CACHE": str(folder / "cache")}
        # else an agent that stays never tells a new one where the store of the group is (torch 2.11 to 2.15)
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        command = [sys.executable, "-m", "torch.distributed.run", *group, "-m", "daezoo", *arguments("vanilla"), *nodes]
        if not (folder / "configs").exists():
            (folder / "configs").symlink_to(CONFIGS)
        with open(self.log, "wb") as file:
            self.process: Any = subprocess.Popen(
                ["ip", "netns", "exec", name, *command],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill the agent and its process, as when the machine loses its power."""
        for pid in _descendants(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile
        self.process.wait(60)

    def ends(self, status: int | None = 0) -> str:
        """Wait for its end; its output."""
        try:
            self.process.wait(300)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"A node hangs:\n{self.log.read_text()}") from None
        assert status is None or self.process.returncode == status, self.log.read_text()
        return self.log.read_text()


def _descendants(pid: int) -> list[int]:
    """A process and all that it started, and they in turn."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    children = listing.read_text().split() if listing.exists() else []
    return [pid, *(found for child in children for found in _descendants(int(child)))]


@contextmanager
def group(folder: Path) -> Iterator[tuple[list[str], list[Node]]]:
    """A training on two nodes, started; nothing of it is left afterwards."""
    with ExitStack() as stack:
        names = stack.enter_context(network())
        nodes: list[Node] = []
        stack.callback(lambda: [node.kill() for node in nodes])
        nodes += [Node(folder, name, address, name[-1]) for name, address in zip(names, ADDRESSES, strict=True)]
        yield names, nodes


def wait_for_steps(folder: Path, node: Node) -> None:
    """Wait until the group trains."""
    deadline = time.monotonic() + 200
    while not says(folder, "steps"):
        assert node.process.poll() is None and time.monotonic() < deadline, node.log.read_text()
        time.sleep(0.01)


def undisturbed(folder: Path, number: int) -> str:
    """Two nodes end with the weights of two processes on one machine."""
    whole, _ = reference("vanilla", 2)
    with group(folder) as (_, nodes):
        for node in nodes:
            node.ends()
    assert_equal_runs(whole, run_of(folder, "vanilla"))
    return "equal"


def killed(folder: Path, number: int) -> str:
    """A node dies; another takes its place, and the group goes on by itself."""
    whole, seconds = reference("vanilla", 2)
    with group(folder) as (names, nodes):
        wait_for_steps(folder, nodes[0])
        time.sleep(random.Random(f"node {number}").uniform(0, 0.5 * seconds))
        # the first node has the meeting point of the group: its loss ends the job, see docs/scaling.md
        nodes[1].kill()
        assert_whole(run_of(folder, "vanilla"))
        nodes.append(Node(folder, names[1], ADDRESSES[1], "replacement"))
        nodes[0].ends(), nodes[2].ends()
    assert_equal_runs(whole, run_of(folder, "vanilla"))
    return "resumed"


def cut(folder: Path, number: int) -> str:
    """The cable is cut: the group gives up, says so, and goes on when it is started again."""
    whole, seconds = reference("vanilla", 2)
    with group(folder) as (names, nodes):
        wait_for_steps(folder, nodes[0])
        time.sleep(random.Random(f"cut {number}").uniform(0, 0.5 * seconds))
        ip("-n", names[1], "link", "set", "cable", "down")
        outputs = [node.ends(None) for node in nodes]
        if nodes[0].process.returncode == 0:
            return "ended before"
        assert "Training failed. To go on: daezoo fit --resume" in outputs[0], outputs[0]
        assert nodes[1].process.returncode != 0 and "Error" in outputs[1], outputs[1]
        assert_whole(run_of(folder, "vanilla"))
    with group(folder) as (_, nodes):
        for node in nodes:
            node.ends()
    assert_equal_runs(whole, run_of(folder, "vanilla"))
    return "gave up, resumed"


CAMPAIGNS = [
    Campaign("two nodes, undisturbed", 1, 1, undisturbed),
    Campaign("one of two nodes killed", 5, 1, killed),
    Campaign("network between two nodes cut", 5, 1, cut),
]
