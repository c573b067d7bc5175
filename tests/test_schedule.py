from math import inf, nan

import pytest
import torch

from daezoo.schedule import Fixed, LogUniform, Progressive, Uniform

LEVELS = [Fixed(0.3), Uniform(0.2, 0.7), LogUniform(0.01, 10.0), Progressive(0.1, 0.9), Progressive(0.9, 0.1)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_levels_are_one_per_sample_within_their_bounds_and_a_function_of_the_generator(level):
    low, high = level.bounds
    global_state = torch.get_rng_state()
    for progress in (0.0, 0.3, 1.0):
        drawn = level.draw(1000, seeded(), progress)
        assert drawn.shape == (1000,)
        # A level is float32, which rounds the bounds too.
        assert low - 1e-6 <= drawn.min() <= drawn.max() <= high + 1e-6
        assert torch.equal(drawn, level.draw(1000, seeded(), progress))
    assert torch.equal(torch.get_rng_state(), global_state)


def test_uniform_levels_fill_their_range_evenly():
    drawn = Uniform(0.2, 0.7).draw(20_000, seeded(), 1.0)
    tenths = torch.histc(drawn, 10, 0.2, 0.7)
    # A tenth is hit 2000 times, standard error √(20000 · 0.1 · 0.9) = 42.4; five of them are 212.
    assert ((tenths - 2000).abs() < 212).all()


def test_log_uniform_levels_fill_every_scale_as_often():
    drawn = LogUniform(0.01, 10.0).draw(30_000, seeded(), 1.0).log10()
    counts = torch.histc(drawn, 3, -2, 1)
    # 10,000 in each decade, standard error √(30000 · ⅓ · ⅔) = 81.6
    assert ((counts - 10_000).abs() < 408).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.2, 0.1)])
def test_log_uniform_bounds_out_of_range_are_an_error(low, high):
    with pytest.raises(ValueError, match=f"0 < low <= high, got low={low} and high={high}"):
        LogUniform(low, high)


@pytest.mark.parametrize(("start", "stop"), [(0.1, 0.9), (0.9, 0.1)])
def test_progressive_levels_go_straight_from_start_to_stop(start, stop):
    for progress in (0.0, 0.25, 0.5, 1.0):
        drawn = Progressive(start, stop).draw(3, None, progress)
        torch.testing.assert_close(drawn, torch.full((3,), start + progress * (stop - start)))


def test_uniform_bounds_in_the_wrong_order_are_an_error():
    with pytest.raises(ValueError, match=r"low <= high, got low=0\.5 and high=0\.4"):
        Uniform(0.5, 0.4)


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("make", [Fixed, lambda value: Uniform(0.0, value), lambda value: Progressive(0.0, value)])
def test_a_level_that_is_no_finite_number_is_an_error(make, value):
    with pytest.raises(ValueError, match="must be a finite number, got"):
        make(value)
