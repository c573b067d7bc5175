import pytest
import torch

from conftest import whole
from daezoo.data import DensityData


@pytest.mark.parametrize(("name", "dimensions"), [("circle", 2), ("spiral", 2), ("swiss_roll", 3)])
def test_splits_are_of_the_density_and_a_function_of_the_seed(name, dimensions):
    data, again, other = (
        DensityData(density=name, train=60, valid=40, test=50, batch_size=8, split_seed=seed) for seed in (0, 0, 1)
    )
    for one in (data, again, other):
        one.setup()
    assert data.shape == [dimensions]
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [60, 40, 50]
    points = {split: whole(data.splits[split]).clean for split in data.splits}
    assert points["train"].dtype == torch.float32
    assert torch.equal(points["train"], whole(again.splits["train"]).clean)
    assert not torch.equal(points["train"], whole(other.splits["train"]).clean)
    everything = torch.cat(list(points.values()))
    assert len(everything.unique(dim=0)) == 150
    # on the support, up to the distance of the places that stand for it
    assert (data.density.posterior_mean(everything, 0.02) - everything).norm(dim=1).max() < 0.05


@pytest.mark.parametrize("options", [{"density": "square"}, {"train": 0}, {"test": -1}], ids=str)
def test_no_such_density_and_empty_splits_are_errors(options):
    with pytest.raises(ValueError, match="a density of circle, spiral, swiss_roll and one point or more"):
        DensityData(**options)
