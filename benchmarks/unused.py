"""What parameters without gradients cost a stack that trains one layer at a time, on two processes.

`python -m benchmarks.unused`: the time of a step of the last layer of 784-1000-1000-1000 under
`DistributedDataParallel(find_unused_parameters=True)`, over that of the same layer wrapped alone, as one fit a layer
would.
"""

import os
import statistics
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from daezoo.networks.mlp import MLPAutoencoder

WIDTHS, BATCH, STEPS, ROUNDS = [1000, 1000, 1000], 64, 20, 7


class Stack(nn.Module):
    """A stack whose last layer alone is trained, on the codes below it."""

    def __init__(self, network: MLPAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output."""
        return self.network.layers[-1](x)


def seconds(model: nn.Module, x: Tensor) -> float:
    """Of a step, over STEPS of them."""
    dist.barrier()
    started = time.perf_counter()
    for _ in range(STEPS):
        model.zero_grad()
        (model(x) - x).square().mean().backward()
    dist.barrier()
    return (time.perf_counter() - started) / STEPS


def measure(rank: int, port: str) -> None:
    """Measure both, turn by turn, in one of two processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    network = MLPAutoencoder(784, WIDTHS, "relu", False)
    whole = DistributedDataParallel(Stack(network), find_unused_parameters=True)
    alone = DistributedDataParallel(MLPAutoencoder(784, WIDTHS, "relu", False).layers[-1])
    x = torch.rand(BATCH, WIDTHS[-2])
    seconds(whole, x), seconds(alone, x)  # the first steps build what later ones use
    times = [(seconds(whole, x), seconds(alone, x)) for _ in range(ROUNDS)]
    if rank == 0:
        ratios = sorted(one / other for one, other in times)
        stack, layer = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"stack {stack:.1f} ms, layer alone {layer:.1f} ms a step; ratio {statistics.median(ratios):.2f}")
        print(f"from {ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} rounds of {STEPS} steps, batch {BATCH} a process")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.multiprocessing.spawn(measure, ("29533",), nprocs=2)
