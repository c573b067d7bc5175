from itertools import combinations

import pytest
import torch
from torch import Tensor

from daezoo.augmentation import ColorJitter, Crop, Flip
from daezoo.batch import Corrupted
from daezoo.corruption import BlockMasking, Compose, Gaussian, Masking, OneOf, SaltAndPepper
from daezoo.randomness import SampleNoise, StepNoise, generator
from daezoo.schedule import Progressive, Uniform

CORRUPTIONS = [
    Gaussian(Uniform(0.1, 0.9)),
    BlockMasking(0.5, size=2),
    Compose(SaltAndPepper(0.3), Gaussian(0.1)),
    OneOf([Masking(0.5), Gaussian(0.5)]),
]
AUGMENTATIONS = [Crop(2), Flip(0.5), ColorJitter(0.5, 0.5, 0.5)]
every_corruption = pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda kind: type(kind).__name__)
KEYS = [
    (0,),
    (1,),
    (2**32,),
    (0, "train", "input", 0),
    (0, "train", "input", 1),
    (1, "train", "input", 0),
    (0, "val", "input", 0),
    (0, "train", "layer1", 0),
    (0, "input", "train", 0),
    (1, 0),
    (2**32 + 1,),
    (1, 1),
]


@pytest.fixture
def clean() -> Tensor:
    return torch.rand(16, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def assert_equal(first: Corrupted, second: Corrupted) -> None:
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_key_is_the_generator_and_different_keys_are_different_generators():
    draws = [torch.randint(2**62, (4,), generator=generator(*key)) for key in KEYS]
    assert all(
        torch.equal(draw, torch.randint(2**62, (4,), generator=generator(*key)))
        for key, draw in zip(KEYS, draws, strict=True)
    )
    assert not any(torch.equal(one, other) for one, other in combinations(draws, 2))


def test_neighbouring_keys_are_uncorrelated():
    draws = torch.stack([torch.randn(10_000, generator=generator(0, "train", "input", step)) for step in range(8)])
    correlation = torch.corrcoef(draws) - torch.eye(8)
    assert correlation.abs().max() < 5 / 10_000**0.5


def test_step_and_sample_noise_never_share_a_generator():
    zeros = torch.zeros(3, 4)
    step = StepNoise(0, 5)(Gaussian(), zeros).noisy[0]
    assert not torch.equal(step, SampleNoise(0, "train", torch.tensor([5, 6, 7]))(Gaussian(), zeros).noisy[0])


def test_sample_noise_of_a_batch_across_blocks_is_that_of_each_sample_alone():
    index = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:40]
    clean = torch.rand(40, 1, 6, 6)
    together = SampleNoise(0, "test", index)(Masking(0.5), clean)
    for row in range(40):
        alone = SampleNoise(0, "test", index[row : row + 1])(Masking(0.5), clean[row : row + 1])
        assert_equal(alone, Corrupted(*(part[row : row + 1] for part in together)))


def test_evaluation_noise_of_a_sample_is_what_it_always_was():
    # whoever changes how evaluation noise is drawn changes every published number: measure them all again
    noisy = SampleNoise(0, "test", torch.tensor([3, 200]))(Gaussian(1.0), torch.zeros(2, 5)).noisy
    block = torch.randn(64, 5, generator=generator("sample", 0, "test", "input", 200 // 64))
    assert torch.equal(noisy[1], block[200 % 64])
    torch.testing.assert_close(noisy[0, :3], torch.tensor([-0.2638, 0.6015, 1.0690]), atol=1e-4, rtol=0)


def test_an_index_for_every_sample_is_wanted():
    with pytest.raises(ValueError, match="one index for each sample, got 2 for 3"):
        SampleNoise(0, "test", torch.tensor([5, 6]))(Gaussian(), torch.zeros(3, 4))


@every_corruption
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_processes_rows_interleaved_are_the_noise_of_one_process(corruption, world_size, clean):
    alone = StepNoise(3, 17)(corruption, clean)
    whole = [torch.empty_like(part) for part in alone]
    for rank in range(world_size):
        rows = slice(rank, None, world_size)
        share = StepNoise(3, 17, rank, world_size)(corruption, clean[rows])
        for part, ours in zip(whole, share, strict=True):
            part[rows] = ours
    assert_equal(alone, Corrupted(*whole))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda kind: type(kind).__name__)
def test_the_processes_rows_interleaved_are_the_augmentation_of_one_process(augmentation, clean):
    alone = StepNoise(3, 17).augment(augmentation, clean, "augmentation")
    for rank in range(4):
        ours = StepNoise(3, 17, rank, 4).augment(augmentation, clean[rank::4], "augmentation")
        assert torch.equal(ours, alone[rank::4])


@every_corruption
def test_step_noise_repeats_itself_and_differs_between_steps_ranks_seeds_and_streams(corruption):
    clean = torch.full((8, 1, 6, 6), 0.5)
    base = StepNoise(3, 17, 0, 2)(corruption, clean)
    assert_equal(base, StepNoise(3, 17, 0, 2)(corruption, clean))
    others = [
        StepNoise(3, 18, 0, 2)(corruption, clean),
        StepNoise(3, 17, 1, 2)(corruption, clean),
        StepNoise(4, 17, 0, 2)(corruption, clean),
        StepNoise(3, 17, 0, 2)(corruption, clean, "layer1"),
    ]
    assert not any(torch.equal(base.noisy, other.noisy) for other in others)


def test_step_noise_passes_the_progress_on_and_sample_noise_is_that_of_the_end(clean):
    corruption = Gaussian(Progressive(0.0, 1.0))
    assert torch.equal(StepNoise(3, 17, progress=0.25)(corruption, clean).level, torch.full((16,), 0.25))
    assert torch.equal(SampleNoise(3, "val", torch.arange(16))(corruption, clean).level, torch.ones(16))


@every_corruption
@pytest.mark.parametrize("batch", [16, 7, 1])
def test_sample_noise_is_the_same_in_any_batch_size_and_any_order(corruption, batch, clean):
    whole = SampleNoise(3, "val", torch.arange(16))(corruption, clean)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    for index in order.split(batch):
        ours = SampleNoise(3, "val", index)(corruption, clean[index])
        assert_equal(ours, Corrupted(*(part[index] for part in whole)))


@every_corruption
def test_sample_noise_differs_between_samples_splits_seeds_and_streams(corruption):
    clean, index = torch.full((8, 1, 6, 6), 0.5), torch.arange(8)
    base = SampleNoise(3, "val", index)(corruption, clean).noisy
    assert len(base.flatten(1).unique(dim=0)) == 8
    others = [
        SampleNoise(3, "test", index)(corruption, clean),
        SampleNoise(4, "val", index)(corruption, clean),
        SampleNoise(3, "val", index)(corruption, clean, "layer1"),
    ]
    assert not any(torch.equal(base, other.noisy) for other in others)


@pytest.mark.parametrize("noise", [StepNoise(3, 17), SampleNoise(3, "val", torch.arange(16))], ids=["step", "sample"])
def test_torchs_global_generator_is_neither_read_nor_moved(noise, clean):
    torch.manual_seed(0)
    first = [noise(corruption, clean) for corruption in CORRUPTIONS]
    state = torch.manual_seed(1).get_state()
    second = [noise(corruption, clean) for corruption in CORRUPTIONS]
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first, second, strict=True):
        assert_equal(one, other)
