from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from daezoo.augmentation import ColorJitter, Flip
from daezoo.batch import Batch, Sample
from daezoo.corruption import Gaussian, Masking
from daezoo.data import ArraysData, DigitsData
from daezoo.data.base import EvaluationOrder, TrainingOrder
from daezoo.data.splits import InMemory
from daezoo.models import VanillaDAE

SIZE = 1257  # training digits


class Spy(L.Callback):
    """Keeps every batch the model saw."""

    def __init__(self) -> None:
        self.train: list[tuple[int, Batch]] = []
        self.valid: list[tuple[int, Batch]] = []
        self.test: list[Batch] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        self.train.append((trainer.current_epoch, batch))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *args: Any) -> None:
        self.valid.append((trainer.current_epoch, batch))

    def on_test_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *args: Any) -> None:
        self.test.append(batch)


def fitted(data: DigitsData, epochs: int = 1, **options: Any) -> tuple[Spy, L.Trainer]:
    spy = Spy()
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=[spy],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"accelerator": "cpu"} | options,
    )
    trainer.fit(VanillaDAE(data.shape, hidden=(2,)), data)
    return spy, trainer


@pytest.fixture(scope="module")
def three_epochs() -> tuple[Spy, DigitsData]:
    data = DigitsData(batch_size=100, corruption=Masking(0.5))
    spy, trainer = fitted(data, 3)
    trainer.test(trainer.lightning_module, data, verbose=False)
    return spy, data


def training(data: DigitsData, step: int = 0, rank: int = 0, world_size: int = 1, **changed: Any) -> DigitsData:
    """The data module as in the middle of a fit, without the fit."""
    data.setup()
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=step - 1))
    stub = dict(
        training=True,
        global_step=step,
        global_rank=rank,
        world_size=world_size,
        num_training_batches=len(data.splits["train"]) // data.batch_size,
        accumulate_grad_batches=1,
        fit_loop=loop,
        max_steps=-1,
        max_epochs=10,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        _accelerator_connector=SimpleNamespace(use_distributed_sampler=False),
    )
    data.trainer = SimpleNamespace(**stub | changed)  # type: ignore[assignment]
    return data


def rows_of(data: DigitsData) -> list[Tensor]:
    return list(data.train_dataloader().batch_sampler)  # type: ignore[arg-type]


def indices(batches: list[tuple[int, Batch]], epoch: int) -> Tensor:
    return torch.cat([batch.index for at, batch in batches if at == epoch])


def interleaved(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts, 1).flatten(0, 1)


def test_an_epoch_of_a_real_fit_sees_each_sample_at_most_once_in_full_batches(three_epochs):
    spy, _ = three_epochs
    assert {len(batch.clean) for _, batch in spy.train} == {100}
    for epoch in range(3):
        seen = indices(spy.train, epoch)
        assert len(seen) == SIZE // 100 * 100
        assert len(seen.unique()) == len(seen)


def test_epochs_of_a_real_fit_have_different_orders_and_leave_out_different_samples(three_epochs):
    spy, _ = three_epochs
    orders = [indices(spy.train, epoch) for epoch in range(3)]
    for first, second in pairwise(orders):
        assert not torch.equal(first, second)
        assert set(first.tolist()) != set(second.tolist())


def test_training_batches_of_a_real_fit_are_the_samples_their_index_says(three_epochs):
    spy, data = three_epochs
    for _, batch in spy.train[::7]:
        assert torch.equal(batch.clean, data.splits["train"].clean[batch.index])
        assert torch.equal(batch.noisy, batch.clean.masked_fill(batch.mask, 0))


def test_training_noise_is_new_at_every_step_of_a_real_fit(three_epochs):
    spy, _ = three_epochs
    masks = [batch.mask.numpy().tobytes() for _, batch in spy.train]
    assert len(set(masks)) == len(masks) == 36


def test_validation_batches_are_equal_in_every_epoch_and_to_those_without_a_trainer(three_epochs):
    spy, data = three_epochs
    by_epoch = [[batch for at, batch in spy.valid if at == epoch] for epoch in range(3)]
    expected = list(data.evaluation_batches("valid"))
    for batches in by_epoch:
        assert len(batches) == len(expected) == 2
        for batch, wanted in zip(batches, expected, strict=True):
            assert all(torch.equal(*parts) for parts in zip(batch[:6], wanted[:6], strict=True))


def test_test_batches_equal_those_without_a_trainer(three_epochs):
    spy, data = three_epochs
    expected = list(data.evaluation_batches("test"))
    assert len(spy.test) == len(expected) == 4
    assert all(torch.equal(batch.noisy, wanted.noisy) for batch, wanted in zip(spy.test, expected, strict=True))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_give_the_batches_of_one_process(world_size):
    alone = rows_of(training(DigitsData(batch_size=64), step=19))
    shares = [rows_of(training(DigitsData(batch_size=64), 19, rank, world_size)) for rank in range(world_size)]
    assert {len(part) for share in shares for part in share} == {64 // world_size}
    assert len(alone) == 19  # the whole second epoch
    for whole, *parts in zip(alone, *shares, strict=True):
        assert torch.equal(interleaved(parts), whole)


def test_ranks_draw_different_noise_which_together_is_that_of_one_process():
    split = InMemory(torch.ones(32, 1, 8, 8))
    rows = torch.arange(32)
    options = dict(batch_size=32, corruption=Gaussian(0.5), augmentation=[ColorJitter(0.5)])

    def corrupted(rank: int, world_size: int) -> Batch:
        data = training(DigitsData(**options), 5, rank, world_size)
        return data.on_after_batch_transfer(split.__getitems__(rows[rank::world_size]), 0)

    alone, first, second = corrupted(0, 1), corrupted(0, 2), corrupted(1, 2)
    assert not torch.equal(first.noisy - first.clean, second.noisy - second.clean)
    assert torch.equal(interleaved([first.noisy, second.noisy]), alone.noisy)
    assert torch.equal(interleaved([first.clean, second.clean]), alone.clean)


def test_order_goes_on_where_training_stands():
    whole = rows_of(training(DigitsData(batch_size=100), step=24))
    rest = rows_of(training(DigitsData(batch_size=100), step=24 + 5))
    assert torch.equal(torch.cat(whole[5:]), torch.cat(rest))


def test_order_goes_on_where_training_stands_when_gradients_accumulate_and_batches_are_limited():
    options = dict(num_training_batches=10, accumulate_grad_batches=4)  # 3 steps in an epoch
    whole = rows_of(training(DigitsData(batch_size=100), step=3, **options))
    rest = rows_of(training(DigitsData(batch_size=100), step=5, **options))
    assert torch.equal(torch.cat(whole[8:10]), torch.cat(rest[:2]))
    assert not torch.equal(whole[0], rows_of(training(DigitsData(batch_size=100), step=0, **options))[0])


@pytest.mark.parametrize(("changed", "same"), [({"seed": 1}, False), ({"split_seed": 1}, True)])
def test_order_follows_seed_alone(changed, same):
    usual, other = (rows_of(training(DigitsData(batch_size=100, **extra)))[0] for extra in ({}, changed))
    assert torch.equal(usual, other) is same


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_noise_is_the_same_for_batch_sizes_16_and_7(split):
    def whole(batch_size: int) -> list[Tensor]:
        batches = list(DigitsData(batch_size=batch_size).evaluation_batches(split))
        return [torch.cat([batch[part] for batch in batches]) for part in range(6)]

    for sixteen, seven in zip(whole(16), whole(7), strict=True):
        assert torch.equal(sixteen, seven)


def test_evaluation_noise_follows_split_seed_alone_and_differs_between_splits():
    def mask(split: str = "valid", **seeds: int) -> Tensor:
        data = DigitsData(batch_size=1, **seeds)
        data.setup()
        return data.evaluation_batch(Sample(torch.ones(4, 1, 8, 8), torch.zeros(4), torch.arange(4)), split).mask

    assert torch.equal(mask(), mask(seed=5))
    assert not torch.equal(mask(), mask(split_seed=5))
    assert not torch.equal(mask(), mask("test"))


def test_evaluation_ranks_share_a_split_without_padding():
    shares = [torch.cat(list(EvaluationOrder(11, 4, rank, 2))).tolist() for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(11))
    assert [len(EvaluationOrder(11, 4, rank, 2)) for rank in range(2)] == [2, 2]


def test_evaluation_order_of_a_split_with_very_many_crops_needs_no_memory():
    order = EvaluationOrder(10**12, 64)
    assert torch.equal(next(iter(order)), torch.arange(64))
    assert len(order) == 10**12 // 64


def test_augmentation_comes_before_corruption():
    data = training(DigitsData(batch_size=100, augmentation=[Flip(1.0)], corruption=Masking(0.5)))
    clean = data.splits["train"].clean[:100]
    batch = data.on_after_batch_transfer(data.splits["train"].__getitems__(torch.arange(100)), 0)
    assert torch.equal(batch.clean, clean.flip(-1))
    assert torch.equal(batch.noisy, clean.flip(-1).masked_fill(batch.mask, 0))


def test_augmentation_is_for_training_only():
    options: dict[str, Any] = dict(batch_size=100, corruption=Masking(0.5))
    data = DigitsData(augmentation=[Flip(1.0)], **options)
    spy, trainer = fitted(data, limit_train_batches=1)
    trainer.test(trainer.lightning_module, data, verbose=False)
    _, batch = spy.train[0]
    assert torch.equal(batch.clean, data.splits["train"].clean[batch.index].flip(-1))
    plain = DigitsData(**options)
    for split, seen in (("valid", [batch for _, batch in spy.valid]), ("test", spy.test)):
        for batch, wanted in zip(seen, plain.evaluation_batches(split), strict=True):
            assert torch.equal(batch.clean, wanted.clean)
            assert torch.equal(batch.noisy, wanted.noisy)


def test_samples_are_augmented_differently_and_anew_in_every_step():
    def flipped(step: int) -> Tensor:
        data = training(DigitsData(batch_size=100, augmentation=[Flip()]), step)
        batch = data.on_after_batch_transfer(data.splits["train"].__getitems__(torch.arange(100)), 0)
        return (batch.clean != data.splits["train"].clean[:100]).flatten(1).any(1)

    assert 20 < flipped(0).sum() < 80
    assert not torch.equal(flipped(0), flipped(1))


def test_augmentation_of_vectors_is_an_error(tmp_path):
    values = np.random.default_rng(0).random((20, 5))
    np.savez(tmp_path / "vectors.npz", train_images=values, test_images=values)
    data = ArraysData(path=str(tmp_path / "vectors.npz"), batch_size=4, augmentation=[Flip()])
    with pytest.raises(ValueError, match=r"Augmentation needs images \(C, H, W\), got samples of shape \(5,\)"):
        data.setup()


def test_batch_larger_than_the_training_split_is_an_error():
    with pytest.raises(ValueError, match="batch_size is 1258, but the training split has only 1257 samples"):
        DigitsData(batch_size=1258).setup()


def test_batch_that_processes_cannot_share_is_an_error():
    with pytest.raises(ValueError, match="batch_size is 63, which 2 processes cannot share evenly"):
        training(DigitsData(batch_size=63), world_size=2).train_dataloader()


def test_a_sampler_of_the_trainer_in_place_of_ours_is_an_error():
    meddling = SimpleNamespace(use_distributed_sampler=True)
    with pytest.raises(ValueError, match="use_distributed_sampler=False"):
        training(DigitsData(batch_size=64), world_size=2, _accelerator_connector=meddling).train_dataloader()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"seed": -1}, {"split_seed": -1}])
def test_sizes_and_seeds_out_of_range_are_errors(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*at least|at least.*{next(iter(options))}"):
        DigitsData(**options)


def test_mean_of_bytes_is_that_of_the_unit_values():
    bytes_ = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(InMemory(bytes_).mean(), bytes_.double().div(255).mean(0).float())
    torch.testing.assert_close(InMemory(bytes_.float() / 255).mean(), InMemory(bytes_).mean())


@pytest.mark.parametrize(("clean", "label"), [(torch.zeros(0, 2), None), (torch.zeros(3, 2), torch.zeros(2))])
def test_an_empty_split_and_unequal_labels_are_errors(clean, label):
    with pytest.raises(ValueError, match=r"no samples|one label for each sample, got 2 for 3"):
        InMemory(clean, label)


class InRuns(InMemory):
    """A split whose rows lie on disk in runs of 50."""

    runs = (50,) * 24 + (57,)


def test_rows_that_lie_together_are_read_near_each_other_and_each_once():
    data = training(DigitsData(batch_size=100))
    images = data.splits["train"]
    data.splits["train"] = InRuns(images.clean, images.label, images.rows)  # type: ignore[attr-defined]
    first, again, second = (torch.cat(rows_of(training(data, step))) for step in (0, 0, 12))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert len(first.unique()) == 1200
    runs_of_window = [(rows // 50).clamp(max=24).unique() for rows in first.split(200)]
    assert max(map(len, runs_of_window)) <= 2 * TrainingOrder.WINDOW  # a slice of 200 can straddle two windows
    steps = (first[1:] - first[:-1]).float()
    assert (steps == 1).float().mean() < 0.05  # yet no run is read in its own order


@pytest.mark.parametrize(("limit", "expected"), [(4.0, "meta"), (0.0, "cpu")])
def test_training_data_that_fits_is_kept_on_the_device(limit, expected):
    # a device without memory of its own shows where samples are, as well as a GPU would
    accelerator = SimpleNamespace(root_device=torch.device("meta"))
    data = training(DigitsData(batch_size=100, resident_gib=limit), strategy=accelerator)
    batch = next(iter(data.train_dataloader()))
    assert {part.device.type for part in batch[:3]} == {expected}
    assert list(batch.clean.shape) == [100, 1, 8, 8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_training_sees_the_samples_that_a_cpu_sees():
    seen = []
    for accelerator in ("cpu", "gpu"):
        spy, _ = fitted(DigitsData(batch_size=100), 1, accelerator=accelerator)
        seen.append(torch.cat([batch.clean.cpu() for _, batch in spy.train]))
    assert torch.equal(*seen)
