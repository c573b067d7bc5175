from math import exp, log

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import build, whole
from daezoo.architectures import ConvStack
from daezoo.corruption import Clean, Compose, Gaussian, Masking
from daezoo.data import ArraysData
from daezoo.evaluation import features
from daezoo.evaluation.features import classes_of, describe, effective_rank, extract, layer_codes, numbered_classes

CPU = torch.device("cpu")
SMALL = {
    "vanilla": {"hidden": [16]},
    "stacked": {"hidden": [16, 12, 8]},
    "conv": {"channels": [4, 6], "code": 8, "kernel": 3},
    "residual": {"network": ConvStack(6, 3)},
}


def small(model, **others):
    """A small untrained model in eval mode, and the digits."""
    torch.manual_seed(0)
    built, data = build(model, **SMALL[model] | others)
    data.setup()
    return built.eval(), data


def test_convolutions_are_float32_while_codes_are_extracted_and_as_before_afterwards(monkeypatch):
    model, data = small("conv")
    seen, before = [], torch.backends.cudnn.allow_tf32
    encode = type(model).encode_layers

    def spy(*args):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled))
        return encode(*args)

    monkeypatch.setattr(type(model), "encode_layers", spy)
    described(model, data)
    assert before
    assert set(seen) == {(False, True)}
    assert torch.backends.cudnn.allow_tf32


def described(model, data, layer=-1, corruption=None):
    codes = extract(model, data.splits["test"], CPU)
    return describe(model, data, codes[layer], layer % len(codes), corruption or data.evaluation_corruption)


def orthogonal(samples, columns, seed=0):
    """Columns of length 1, at right angles to each other and to the ones: centred as they are."""
    x = np.random.default_rng(seed).standard_normal((samples, columns))
    return torch.from_numpy(np.linalg.qr(np.c_[np.ones(samples), x])[0][:, 1:]).float()


@pytest.mark.parametrize("rank", [1, 2, 7, 20])
def test_orthogonal_columns_of_equal_norm_have_their_number_as_effective_rank(rank):
    assert effective_rank(3 * orthogonal(50, rank)) == pytest.approx(rank, rel=1e-4)


def test_columns_of_zeros_and_a_shift_add_nothing_to_the_effective_rank():
    codes = torch.cat([orthogonal(50, 4), torch.zeros(50, 3)], 1)
    assert effective_rank(codes) == pytest.approx(4, rel=1e-4)
    assert effective_rank(codes + 2) == pytest.approx(4, rel=1e-3)


def test_effective_rank_does_not_depend_on_scale_rotation_or_order():
    codes = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    rank = effective_rank(codes)
    assert 1 < rank < 8
    for other in (codes * 100, codes / 100, codes @ turn, codes.flip(0), codes.flip(1), codes.repeat(2, 1)):
        assert effective_rank(other) == pytest.approx(rank, rel=1e-4)


def test_effective_rank_of_singular_values_three_and_one():
    # shares 3/4 and 1/4
    expected = exp(-(0.75 * log(0.75) + 0.25 * log(0.25)))
    assert effective_rank(orthogonal(30, 2) * torch.tensor([3.0, 1.0])) == pytest.approx(expected, rel=1e-4)


def test_codes_on_one_line_have_effective_rank_one():
    along = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    assert effective_rank(along * torch.tensor([1.0, -2.0, 0.0, 4.0])) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("samples", "value"), [(2, 0.1), (7, 0.0), (7, 0.5), (2000, 0.1), (2000, 123.4)])
def test_constant_codes_have_effective_rank_zero(samples, value):
    codes = torch.full((samples, 5), value) * torch.tensor([1.0, 0.7, 0.3, 1.1, 0.9])
    assert effective_rank(codes) == 0


def test_effective_rank_is_at_most_samples_less_one():
    codes = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    assert effective_rank(codes) <= 4 + 1e-6


@pytest.mark.parametrize("model", SMALL)
def test_the_last_layer_is_the_code(model):
    built, data = small(model)
    x = whole(data.splits["test"]).clean[:10]
    assert torch.equal(layer_codes(built, x)[-1], built.encode(x))


def test_the_layers_are_the_encoders():
    built, data = small("stacked")
    x = whole(data.splits["test"]).clean[:10]
    expected = x.flatten(1)
    for codes, layer in zip(layer_codes(built, x), built.network.layers, strict=True):
        expected = layer.encode(expected)
        assert torch.equal(codes, expected)


def test_feature_maps_are_averaged_over_the_cells_of_a_grid():
    built, _ = build("conv", channels=[3], code=5, shape=[1, 32, 32])
    maps, code = layer_codes(built.eval(), torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = built.encode_layers(x)[0].view(2, 3, 4, 4, 4, 4).mean((3, 5)).flatten(1)
    assert maps.shape == (2, 3 * 4**2)
    assert torch.allclose(maps, wanted, atol=1e-6)
    assert code.shape == (2, 5)


@pytest.mark.parametrize("model", SMALL)
def test_features_are_those_of_clean_samples_in_float32_and_carry_no_gradient(model):
    built, data = small(model)
    state = {name: value.clone() for name, value in built.state_dict().items()}
    got = extract(built, data.splits["test"], CPU)
    with torch.no_grad():
        expected = layer_codes(built, whole(data.splits["test"]).clean)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == torch.float32
        assert not one.requires_grad
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-6)
    assert all(torch.equal(value, state[name]) for name, value in built.state_dict().items())
    assert not built.training


def test_without_a_model_the_features_are_the_samples_in_the_unit_interval(tmp_path):
    draw = np.random.default_rng(0)
    images = {name: draw.integers(0, 256, (30, 4, 4), dtype=np.uint8) for name in ("train_images", "test_images")}
    np.savez(tmp_path / "bytes.npz", **images)
    data = ArraysData(str(tmp_path / "bytes.npz"), batch_size=8)
    data.setup()
    (got,) = extract(None, data.splits["test"], CPU)
    assert got.dtype == torch.float32
    assert np.allclose(got.numpy(), images["test_images"].reshape(30, 16) / 255, atol=1e-7)


def labelled(path, train, test, valid=0.25):
    """Arrays of random images with these labels; None for none."""
    draw = np.random.default_rng(0)
    sizes = {"train": 40 if train is None else len(train), "test": 20 if test is None else len(test)}
    arrays = {f"{part}_images": draw.random((size, 3)) for part, size in sizes.items()}
    labels = {"train": train, "test": test}
    arrays |= {f"{part}_labels": np.array(values) for part, values in labels.items() if values is not None}
    np.savez(path, **arrays)
    data = ArraysData(str(path), valid=valid, batch_size=2)
    data.setup()
    return data


def test_classes_are_numbered_by_the_sorted_labels_of_the_training_split(tmp_path):
    data = labelled(tmp_path / "labels.npz", [3, 7, 100] * 20, [100, 3, 7, 7])
    classes, numbers = numbered_classes(data)
    assert classes == 3
    assert numbers["test"].tolist() == [2, 0, 1, 1]
    names = torch.tensor([3, 7, 100])
    for part in ("train", "valid"):
        assert torch.equal(names[numbers[part]], classes_of(data.splits[part]))


@pytest.mark.parametrize("stranger", [0, 5, 101])
def test_a_class_that_the_training_split_does_not_have_gets_no_number(tmp_path, stranger):
    data = labelled(tmp_path / "labels.npz", [3, 7, 100] * 20, [stranger, 3, stranger, 100])
    classes, numbers = numbered_classes(data)
    assert classes == 3
    assert numbers["test"].tolist() == [-1, 0, -1, 2]


@pytest.mark.parametrize(
    ("train", "test"), [(None, None), (None, [0, 1]), ([0, 1] * 20, None), ([0, 1, -1, 1] * 10, [0, 1])]
)
def test_samples_without_labels_are_an_error(tmp_path, train, test):
    with pytest.raises(ValueError, match="label"):
        numbered_classes(labelled(tmp_path / "labels.npz", train, test))


def test_one_class_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"two classes or more.* 7"):
        numbered_classes(labelled(tmp_path / "labels.npz", [7] * 40, [7, 8]))


def test_dead_units_are_those_that_never_change():
    model, data = small("vanilla", activation="relu")
    with torch.no_grad():
        model.network.layers[0].bias[:5] = -1000
        model.network.layers[0].bias[5:] = 0.5
        model.network.layers[0].weight[5] = 0  # it is always 0.5
    got = described(model, data)
    assert got["dead"] == 6 / 16
    assert got["saturated"] is None


def test_saturated_units_are_at_either_end_of_the_logistic_function():
    model, data = small("vanilla", activation="sigmoid")
    with torch.no_grad():
        model.network.layers[0].weight.zero_()
        model.network.layers[0].bias[:] = torch.tensor([100.0] * 4 + [-100.0] * 2 + [0.0] * 10)
    got = described(model, data)
    assert got["saturated"] == pytest.approx(6 / 16)
    assert got["dead"] == 1
    assert got["effective_rank"] == 0
    assert got["mean_activation"] == pytest.approx((4 + 5) / 16)


def test_units_in_the_middle_are_neither_dead_nor_saturated():
    model, data = small("vanilla", activation="sigmoid")
    with torch.no_grad():
        model.network.layers[0].weight.mul_(0.01)
    got = described(model, data)
    assert got["saturated"] == 0
    assert got["dead"] == 0
    assert got["mean_activation"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("model", ["conv", "residual"])
def test_units_that_are_not_logistic_are_not_called_saturated(model):
    assert described(*small(model))["saturated"] is None


@pytest.mark.parametrize("model", SMALL)
def test_mean_activation_and_effective_rank_are_those_of_the_test_codes(model):
    built, data = small(model)
    codes = extract(built, data.splits["test"], CPU)[-1]
    got = described(built, data)
    assert got["mean_activation"] == pytest.approx(codes.double().mean().item())
    assert got["effective_rank"] == pytest.approx(effective_rank(codes))


@pytest.mark.parametrize("corruption", [Masking(0.25), Gaussian(0.3)])
@pytest.mark.parametrize("model", SMALL)
def test_invariance_is_one_where_the_noise_does_nothing(model, corruption, monkeypatch):
    monkeypatch.setattr(features, "LEVELS", (0.0,))
    (got,) = described(*small(model), corruption=corruption)["invariance"]
    assert got["level"] == 0
    assert got["cosine"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", SMALL)
def test_the_invariance_curve_is_the_cosine_of_the_codes_of_clean_and_noisy(model):
    built, data = small(model)
    got = described(built, data, corruption=Gaussian(0.3))["invariance"]
    assert [one["level"] for one in got] == sorted(one["level"] for one in got)
    assert len(got) >= 3
    for one in (got[0], got[-1]):
        batch = data.evaluation_batch(whole(data.splits["test"]), "test", Gaussian(one["level"]))
        with torch.no_grad():
            cosine = F.cosine_similarity(built.encode(batch.clean), built.encode(batch.noisy))
        assert one["cosine"] == pytest.approx(cosine.mean().item(), abs=1e-5)


def test_more_noise_leaves_less_of_a_linear_code():
    model, data = small("conv")
    cosines = [one["cosine"] for one in described(model, data, corruption=Gaussian(0.3))["invariance"]]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] > cosines[-1] + 0.01


def test_a_code_that_ignores_its_input_is_fully_invariant():
    model, data = small("vanilla", activation="sigmoid")
    with torch.no_grad():
        model.network.layers[0].weight.zero_()
    got = described(model, data)
    assert [one["cosine"] for one in got["invariance"]] == pytest.approx([1] * len(got["invariance"]), abs=1e-6)
    assert got["cosine_between_samples"] == pytest.approx(1, abs=1e-6)


def test_a_corruption_without_a_level_is_one_point_of_the_curve():
    model, data = small("vanilla")
    (clean,) = described(model, data, corruption=Clean())["invariance"]
    assert clean["level"] is None
    assert clean["cosine"] == pytest.approx(1, abs=1e-6)
    (both,) = described(model, data, corruption=Compose(Masking(0.5), Gaussian(0.5)))["invariance"]
    assert both["level"] is None
    assert both["cosine"] < 0.999


def test_the_numbers_do_not_depend_on_the_batch_size():
    model, data = small("vanilla")
    numbers = []
    for data.batch_size in (32, 7):
        numbers.append(described(model, data))
    assert numbers[0] == numbers[1]
