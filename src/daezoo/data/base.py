"""What all data modules share: loaders, order, and the one place where input is corrupted."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from daezoo.augmentation import Augmentation
from daezoo.batch import Batch, Noise, Sample
from daezoo.corruption import Corruption, Masking, Recorded, Reservoir
from daezoo.data.splits import Split, digest, of_classes, rows_at_once, spread, to_unit
from daezoo.data.whitening import whiten
from daezoo.hyperparameters import PlainHyperparameters
from daezoo.randomness import SampleNoise, StepNoise, generator

SPLITS = ("train", "valid", "test")


class TrainingOrder(Sampler[Tensor]):
    """Batches of this process's rows, in an order that is a function of (seed, epoch) and starts where training stands.

    The global batch is the next `batch_size` samples of the epoch's permutation; process r of w takes every w-th of
    them, from r on. Samples beyond the last full batch wait for another epoch's order. Where to start follows from
    `trainer.global_step`, so a resumed run goes on exactly where its checkpoint was written.

    Where rows lie on disk in runs, the runs are shuffled, and rows only among those of `WINDOW` neighbouring runs.
    """

    WINDOW: ClassVar[int] = 4

    def __init__(self, data: "DenoisingDataModule", split: Split, device: torch.device | str = "cpu") -> None:
        self.data, self.split, self.device = data, split, device

    def __len__(self) -> int:
        return (self.split.epoch_size or len(self.split)) // self.data.batch_size

    def epoch(self, number: int) -> Tensor:
        """The rows of an epoch, in order."""
        draw = generator(self.data.seed, "order", number)
        if self.split.epoch_size is not None:
            return torch.randint(len(self.split), (self.split.epoch_size,), generator=draw)
        if self.split.runs is None:
            return torch.randperm(len(self.split), generator=draw)
        runs = torch.arange(len(self.split)).split(list(self.split.runs))
        order = torch.randperm(len(runs), generator=draw).split(self.WINDOW)
        windows = [torch.cat([runs[run] for run in window.tolist()]) for window in order]
        return torch.cat([rows[torch.randperm(len(rows), generator=draw)] for rows in windows])

    def __iter__(self) -> Iterator[Tensor]:
        trainer, batch = self.data.trainer, self.data.batch_size
        assert trainer is not None
        # num_training_batches knows of limit_train_batches; it is infinite only as long as nothing has trained
        batches = int(min(len(self), trainer.num_training_batches))
        accumulate = trainer.accumulate_grad_batches
        epoch, steps = divmod(trainer.global_step, -(-batches // accumulate))
        order = self.epoch(epoch).to(self.device)
        for start in range(steps * accumulate * batch, len(self) * batch, batch):
            yield order[start : start + batch][trainer.global_rank :: trainer.world_size]


class EvaluationOrder(Sampler[Tensor]):
    """Batches of this process's share of a split, in its own order: every sample once, nothing padded."""

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.rows = range(rank, size, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self.rows), self.batch_size):
            yield torch.tensor(self.rows[start : start + self.batch_size])


def _identity(sample: Any) -> Any:
    return sample


def _together(batch: Sample) -> Tensor:
    """The clean samples in [0, 1], followed in their channels by the recorded noisy ones, if there are any."""
    return to_unit(batch.clean if batch.noisy is None else torch.cat([batch.clean, batch.noisy], 1))


class DenoisingDataModule(PlainHyperparameters, L.LightningDataModule, ABC):
    """Clean samples in three splits, corrupted on the fly on the device.

    A data set supplies `shape` and `load`. Training noise is keyed by (seed, step), evaluation noise by (split_seed,
    sample index): the noisy validation and test sets are the same in every epoch, for every batch size and device.

    Args:
        corruption: q(noisy | clean); masking of a quarter of the elements if None.
        evaluation_corruption: The corruption of the validation and test splits; `corruption`, at the end of its
            schedule, if None.
        augmentation: Random changes of the clean training images, in this order, before corruption.
        batch_size: Samples in a training batch, over all processes.
        seed: Seed of training order, augmentation and noise; `seed_everything` on the command line.
        split_seed: Seed of the splits and of evaluation noise.
        num_workers: Processes that load batches; 0 is fastest for data in memory, and all that data on a GPU takes.
        whiten: Whiten all samples with the training samples' statistics, see `daezoo.data.whitening.whiten`; they are
            then held in memory as float32.
        resident_gib: Training data in memory of up to so many GiB is kept on the GPU, if there is one.
        classes: Labels of the samples that training and validation split keep; all if None. The test split always keeps
            all, so that a model can be asked what it makes of classes it never saw.

    Attributes:
        fingerprint: A digest of the samples that were loaded for a fit, which its checkpoints keep.
    """

    CACHED_GIB: ClassVar[float] = 1.0
    """Noisy validation batches of up to so many GiB are drawn once per fit, more in every validation."""

    RESERVOIR: ClassVar[int] = 4096
    """Training samples that `SwapNoise` takes values from, at the most."""

    def __init__(
        self,
        corruption: Corruption | None = None,
        evaluation_corruption: Corruption | None = None,
        augmentation: Sequence[Augmentation] | None = None,
        batch_size: int = 128,
        seed: int = 0,
        split_seed: int = 0,
        num_workers: int = 0,
        resident_gib: float = 4.0,
        whiten: bool = False,
        classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        if min(seed, split_seed) < 0:
            raise ValueError(f"Seeds must be at least 0, got seed={seed} and split_seed={split_seed}.")
        self.corruption = corruption or Masking()
        self.evaluation_corruption = evaluation_corruption or self.corruption
        self.augmentation = list(augmentation or ())
        self.batch_size = batch_size
        self.seed = seed
        self.split_seed = split_seed
        self.num_workers = num_workers
        self.resident_gib = resident_gib
        self.whiten = whiten
        self.classes = classes
        self.splits: dict[str, Split] = {}
        self.fingerprint: str | None = None
        self._validation_cache: dict[tuple[int, int], Batch] = {}
        self._reservoir: Reservoir | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the samples, which every process loads, or maps, by itself."""
        return self.__dict__ | {"splits": {}, "_validation_cache": {}, "_reservoir": None}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data."""
        return {"fingerprint": self.fingerprint}

    @property
    @abstractmethod
    def shape(self) -> list[int]:
        """Shape of one sample, [C, H, W] or [D]."""

    @abstractmethod
    def load(self) -> dict[str, Split]:
        """The splits train, valid and test."""

    def setup(self, stage: str | None = None) -> None:
        """Load the splits, once.

        Raises:
            ValueError: If the training split has fewer samples than a batch, the batch cannot be dealt out evenly, or
                images are wanted and there are none, or they cannot be whitened, or have no such classes.
        """
        if not self.splits:
            loaded = self.load() if self.classes is None else of_classes(self.load(), self.classes)
            if stage == "fit":  # before whitening, which rounds differently on another machine
                self.fingerprint = digest([], *(split.fingerprint() for split in loaded.values()))
            self.splits = self.whitened(loaded) if self.whiten else loaded
        if stage == "fit":
            self._validation_cache.clear()
        train = self.splits["train"]
        if stage not in ("validate", "test", "predict") and self.batch_size > (train.epoch_size or len(train)):
            raise ValueError(
                f"batch_size is {self.batch_size}, but the training split has only {train.epoch_size or len(train)} "
                "samples. Set --data.batch_size to no more than that."
            )
        if self.augmentation and len(self.shape) != 3:
            raise ValueError(f"Augmentation needs images (C, H, W), got samples of shape {tuple(self.shape)}.")

    def whitened(self, splits: dict[str, Split]) -> dict[str, Split]:
        """The splits whitened, with values in [0, 1] unless a data set says otherwise."""
        return whiten(splits)

    def check_trainer(self, trainer: L.Trainer) -> None:
        """Check that the trainer deals batches out as this module does.

        Raises:
            ValueError: If the trainer would put a sampler of its own in place of ours, the batch cannot be dealt out
                evenly, or a split that is loaded already has too few samples for every process to get one.
        """
        world_size = trainer.world_size
        # private, but the only place that says it
        if world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError("Training on several processes needs Trainer(use_distributed_sampler=False).")
        if self.batch_size % world_size:
            raise ValueError(f"batch_size is {self.batch_size}, which {world_size} processes cannot share evenly.")
        for name, split in self.splits.items():
            if len(split) < world_size:
                raise ValueError(
                    f"The {name} split has {len(split)} samples, fewer than there are processes, {world_size}."
                )

    def random_split(self, size: int, *held_out: int) -> list[Tensor]:
        """Rows of a data set dealt out at random, by split_seed: what is left for training, then each held-out part."""
        order = torch.randperm(size, generator=generator(self.split_seed, "split"))
        return list(order.split([size - sum(held_out), *held_out]))

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of this process's rows."""
        assert self.trainer is not None
        self.check_trainer(self.trainer)
        train = self.splits["train"]
        device = self.trainer.strategy.root_device
        if device.type == "cpu" or train.nbytes is None or train.nbytes > self.resident_gib * 2**30:
            return self._loader(train, TrainingOrder(self, train))
        # batches are indexed on the device: nothing is copied to it in a step, and there is nothing to pin
        return DataLoader(
            train.on(device),
            batch_sampler=TrainingOrder(self, train, device),  # type: ignore[arg-type]
            collate_fn=_identity,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation split."""
        return self.evaluation_loader("valid")

    def test_dataloader(self) -> DataLoader[Sample]:
        """The test split."""
        return self.evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The test split."""
        return self.evaluation_loader("test")

    def evaluation_loader(self, split: str) -> DataLoader[Sample]:
        """Every sample of a split once, over all processes, clean and in order."""
        ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return self._loader(self.splits[split], EvaluationOrder(len(self.splits[split]), self.batch_size, *ranks))

    def _loader(self, split: Split, order: Sampler[Tensor]) -> DataLoader[Sample]:
        options: dict[str, Any] = {"persistent_workers": True} if self.num_workers else {}
        # mypy's stubs want lists of rows; a tensor indexes the split in one go
        return DataLoader(
            split,
            batch_sampler=order,  # type: ignore[arg-type]
            collate_fn=_identity,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def on_after_batch_transfer(self, batch: Sample, dataloader_idx: int) -> Batch:
        """Corrupt a batch, on its device and outside autocast."""
        trainer = self.trainer
        assert trainer is not None
        if trainer.training:
            # until the step runs, total_batch_idx still holds the number of the batch before
            counter = trainer.fit_loop.epoch_loop.total_batch_idx + 1
            noise = StepNoise(self.seed, counter, trainer.global_rank, trainer.world_size, self._progress(counter))
            images = _together(batch)
            for number, augment in enumerate(self.augmentation):
                images = noise.augment(augment, images, f"augmentation{number}")
            return self._corrupt(batch, images, self.corruption, noise)
        if not (trainer.validating or trainer.sanity_checking) or trainer.state.fn != "fit":
            return self.evaluation_batch(batch, "test" if trainer.testing or trainer.predicting else "valid")
        # the noisy validation set never changes: draw it once per fit
        key = (int(batch.index[0]), len(batch.index))
        if key in self._validation_cache:
            return self._validation_cache[key]
        noisy = self.evaluation_batch(batch, "valid")
        if (1 + len(self._validation_cache)) * sum(part.nbytes for part in noisy[:4]) <= self.CACHED_GIB * 2**30:
            self._validation_cache[key] = noisy
        return noisy

    def _progress(self, counter: int) -> float:
        trainer = self.trainer
        assert trainer is not None
        done = [0.0]
        if trainer.max_steps > 0:
            done.append(trainer.global_step / trainer.max_steps)
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            done.append(counter / (trainer.max_epochs * trainer.num_training_batches))
        return min(1.0, max(done))

    @property
    def groups(self) -> Tensor | None:
        """Which column of a table each element of a sample belongs to, (D,); None if each is a column of its own."""
        return None

    def reservoir(self) -> Reservoir:
        """Training samples whose values `SwapNoise` takes: up to RESERVOIR of them, evenly spread."""
        if self._reservoir is None:
            train = self.splits["train"]
            sample = train.__getitems__(spread(len(train), rows_at_once(train[0].clean.numel(), self.RESERVOIR)))
            self._reservoir = Reservoir.of(to_unit(sample.clean), sample.observed, self.groups)
        return self._reservoir

    def _corrupt(
        self, batch: Sample, images: Tensor, corruption: Corruption, noise: Noise, stream: str = "input"
    ) -> Batch:
        clean, *recorded = images.chunk(1 if batch.noisy is None else 2, 1)
        if recorded and isinstance(corruption, Recorded):
            noisy, level, mask = corruption.between(clean, *recorded)
        else:
            corruption = corruption.bound(self.reservoir)
            noisy, level, mask = noise(corruption, clean, stream)
        if batch.observed is not None:  # what is missing stays so
            noisy, mask = torch.where(batch.observed, noisy, clean), mask & batch.observed
        return Batch(noisy, clean, level, mask, batch.label, batch.index, noise, batch.observed, corruption)

    def evaluation_batch(
        self, batch: Sample, split: str, corruption: Corruption | None = None, stream: str = "input"
    ) -> Batch:
        """A batch with the noise that evaluation always gives its samples.

        Args:
            batch: Clean samples, on any device.
            split: The split they are from.
            corruption: Another corruption than the configured one.
            stream: Names the noise: another name is another draw.
        """
        noise = SampleNoise(self.split_seed, split, batch.index)
        return self._corrupt(batch, _together(batch), corruption or self.evaluation_corruption, noise, stream)

    def evaluation_batches(self, split: str, corruption: Corruption | None = None) -> Iterator[Batch]:
        """The noisy batches of a split, without a trainer: a loop over a loader would see clean samples only.

        Args:
            split: train, valid or test.
            corruption: Another corruption than the configured one.
        """
        self.setup()
        for rows in EvaluationOrder(len(self.splits[split]), self.batch_size):
            yield self.evaluation_batch(self.splits[split].__getitems__(rows), split, corruption)
