import numpy as np
import torch

from daezoo.losses import CrossEntropy
from daezoo.models import StackedDAE
from daezoo.studies.vincent2010_figures import filters, samples


def stack(seed: int) -> StackedDAE:
    torch.manual_seed(seed)
    return StackedDAE([1, 6, 6], hidden=[20, 9], loss=CrossEntropy()).eval()


def test_each_model_has_a_panel_of_its_strongest_filters():
    models = {"a": stack(0), "b": stack(1)}
    figure = filters(models, columns=3, rows=2)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert shown[0].shape == (2 * 7 - 1, 3 * 7 - 1)
    strongest = max(models["a"].network.layers[0].weight, key=torch.norm).view(6, 6)
    unit = (strongest - strongest.min()) / (strongest.max() - strongest.min())
    assert np.allclose(shown[0][:6, :6], unit.detach().numpy(), atol=1e-6)


def test_samples_differ_from_draw_to_draw_below_the_images_they_come_from():
    images = torch.rand(5, 1, 6, 6)
    figure = samples({"a": stack(0)}, images, draws=3)
    assert [axis.get_ylabel() for axis in figure.axes] == ["images", "a", "", ""]
    rows = [axis.images[0].get_array() for axis in figure.axes]
    assert np.allclose(rows[0], torch.cat(list(images[:, 0]), 1))
    assert not np.allclose(rows[1], rows[2])
    again = samples({"a": stack(0)}, images, draws=3)
    assert np.array_equal(again.axes[3].images[0].get_array(), rows[3])
