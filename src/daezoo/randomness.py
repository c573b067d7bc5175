"""Noise as a function of a key, never of hidden state.

Training noise is keyed by (seed, step counter), evaluation noise by (seed, sample index). Nothing here touches torch's
global generator, so noise does not depend on the number of processes, on what else was drawn, or on a restart.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from daezoo.augmentation import Augmentation
from daezoo.batch import Corrupted
from daezoo.corruption import Corruption

BLOCK_SAMPLES, BLOCK_ELEMENTS = 64, 2**17
"""How much evaluation noise is drawn at once. Another number is other noise: every evaluation changes with it."""


def generator(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one key.

    Args:
        key: Integers and names; hashed, so that any two keys are independent.
        device: Where the generator draws.
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class StepNoise:
    """Training noise: the whole global batch's noise is drawn, and each process keeps its own rows.

    Row i of process r is row i * world_size + r of the global batch, as the sampler deals samples out: one process and
    many see the same noise.

    Args:
        seed: The run's seed.
        counter: Batches trained on so far, over all epochs.
        rank: This process, 0 <= rank < world_size.
        world_size: Number of processes.
        progress: Share of the training that is over, in [0, 1], for levels that grow over training.
    """

    seed: int
    counter: int
    rank: int = 0
    world_size: int = 1
    progress: float = 1.0

    def __call__(self, corruption: Corruption, clean: Tensor, stream: str = "input") -> Corrupted:
        """Corrupt this process's rows, (batch, *dims)."""
        whole, draw = self._global(clean, stream)
        return Corrupted(*(part[self._rows] for part in corruption(whole, draw, self.progress)))

    def augment(self, augmentation: Augmentation, clean: Tensor, stream: str) -> Tensor:
        """Augment this process's rows, (batch, C, H, W)."""
        return augmentation(*self._global(clean, stream))[self._rows]

    @property
    def _rows(self) -> slice:
        return slice(self.rank, None, self.world_size)

    def _global(self, clean: Tensor, stream: str) -> tuple[Tensor, torch.Generator]:
        draw = generator("step", self.seed, stream, self.counter, device=clean.device)
        if self.world_size == 1:
            return clean, draw
        whole = clean.new_zeros(len(clean) * self.world_size, *clean.shape[1:])
        whole[self._rows] = clean
        return whole, draw


@dataclass(frozen=True)
class SampleNoise:
    """Evaluation noise: each sample's own, the same for every batch size, device and number of processes.

    The noise of a block of consecutive samples is drawn at once, and each sample keeps its own, so batches of fewer
    samples than a block take longer. How many make a block depends on the size of a sample alone.

    Args:
        seed: The seed of the evaluation, which is not the seed of the training.
        split: Name of the split; two splits' noise is independent.
        index: (batch,) place of each sample in its split.
    """

    seed: int
    split: str
    index: Tensor

    def __call__(self, corruption: Corruption, clean: Tensor, stream: str = "input") -> Corrupted:
        """Corrupt each sample with its own noise, drawn on the CPU, (batch, *dims).

        Raises:
            ValueError: If there is not one index for each sample.
        """
        if len(self.index) != len(clean):
            raise ValueError(f"There must be one index for each sample, got {len(self.index)} for {len(clean)}.")
        samples, index = clean.cpu(), self.index.cpu()
        size = max(1, min(BLOCK_SAMPLES, BLOCK_ELEMENTS // samples[0].numel()))
        corrupted: list[Tensor] | None = None
        for block in (index // size).unique().tolist():
            rows = (index // size == block).nonzero().squeeze(1)
            places = index[rows] % size
            whole = samples.new_zeros(size, *samples.shape[1:])
            whole[places] = samples[rows]
            drawn = corruption(whole, generator("sample", self.seed, self.split, stream, block))
            corrupted = corrupted or [part.new_empty(len(samples), *part.shape[1:]) for part in drawn]
            for target, part in zip(corrupted, drawn, strict=True):
                target[rows] = part[places]
        return Corrupted(*(part.to(clean.device) for part in corrupted or ()))
