import json
from math import log

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from conftest import fit_arguments, whole
from daezoo.data import DigitsData, MNISTData, MNISTVariationsData, TableData
from daezoo.evaluation.likelihood import estimate
from daezoo.likelihoods import FixedGaussian
from daezoo.losses import CrossEntropy
from daezoo.models import VanillaDAE, VariationalDAE
from daezoo.zoo.measure import again, measure, opened
from small_sets import dots, mnist_of


@pytest.fixture
def root(tmp_path) -> str:
    return str(mnist_of(tmp_path, dots(np.linspace(80, 255, 90)), np.arange(90) % 10, 20))


def ready(root: str, **arguments: object) -> MNISTData:
    data = MNISTData(root, valid=10, batch_size=8, **arguments)
    data.setup()
    return data


@pytest.mark.parametrize("how", ["fixed", "stochastic", "threshold"])
def test_binarised_images_are_the_same_every_time_but_grey_where_training_draws_them_anew(root, how):
    grey, data, again = ready(root), ready(root, binarise=how), ready(root, binarise=how)
    for name in ("train", "valid", "test"):
        images, before = whole(data.splits[name]).clean, whole(grey.splits[name]).clean
        if how == "stochastic" and name == "train":
            assert torch.equal(images, before)
            continue
        assert set(images.unique().tolist()) == {0, 255}
        assert torch.equal(images, whole(again.splits[name]).clean)
        assert torch.equal(images[(before == 0) | (before == 255)], before[(before == 0) | (before == 255)])
        if how == "threshold":
            assert torch.equal(images > 0, before > 127)
        else:
            assert abs((images.float() - before.float()).mean()) < 2
    assert [type(change).__name__ for change in data.augmentation] == ["Binarise"] * (how == "stochastic")


def test_binarised_data_of_other_names_is_refused(root):
    with pytest.raises(ValueError, match="binarise must be fixed, stochastic, threshold or nothing, got 'twice'"):
        MNISTData(root, binarise="twice")
    with pytest.raises(ValueError, match="binarise is for MNIST as it is"):
        MNISTVariationsData(root=root, binarise="fixed")


def test_the_estimate_is_the_mean_over_samples_for_any_batch_size(root):
    torch.manual_seed(0)
    model = VariationalDAE([1, 28, 28], [8], 2, loss=CrossEntropy()).eval()
    data = ready(root, binarise="fixed")
    found = estimate(model, data, 70)
    data.batch_size = 20
    (batch,) = data.evaluation_batches("test")
    expected = -model.log_likelihood(batch.clean, 70, batch.noise)
    assert found["nll"] == pytest.approx(expected.mean().item(), rel=1e-5)
    assert found["standard_error"] == pytest.approx(expected.std().item() / 20**0.5, rel=1e-3)
    assert found["nll_bits"] == pytest.approx(found["nll"] / 784 / log(2))
    assert found["nll"] < found["bound"]
    assert estimate(model, data, 70)["nll"] == pytest.approx(found["nll"], rel=1e-6)


def test_a_model_without_a_likelihood_says_so(tmp_path):
    data = DigitsData()
    data.setup()
    with pytest.raises(ValueError, match=r"A VanillaDAE has no distribution q\(h \| x\)"):
        estimate(VanillaDAE([1, 8, 8]), data, 5)
    with pytest.raises(ValueError, match="binary data only"):
        estimate(VariationalDAE([1, 8, 8], loss=CrossEntropy()), data, 5)
    holes = np.where(np.random.default_rng(0).random((60, 3)) < 0.2, np.nan, 1.0) * np.arange(180).reshape(60, 3)
    pd.DataFrame(holes).to_csv(tmp_path / "t.csv", index=False)
    table = TableData(str(tmp_path / "t.csv"))
    table.setup()
    with pytest.raises(ValueError, match="TableData has missing values"):
        estimate(VariationalDAE([3], loss=FixedGaussian()), table, 5)
    found = estimate(VariationalDAE([1, 8, 8], loss=FixedGaussian()).eval(), data, 2)
    assert "density of values" in found["protocol"]


def test_the_command_prints_nats_and_bits_and_its_protocol(daezoo_command, workplace, root):
    small = ("--data.root", root, "--data.valid", "10", "--data.batch_size", "10", "--data.binarise", "stochastic")
    smaller = ("--model.hidden", "[8]", "--trainer.max_epochs", "1", "--name", "run", "--pictures", "false")
    status, _, err = daezoo_command(*fit_arguments("variational", "mnist", *small, *smaller))
    assert status == 0, err
    status, out, err = daezoo_command("evaluate", "runs/variational-mnist/run", "--likelihood", "3")
    assert status == 0, err
    assert "iw-nll-v1" in out and "k = 3 codes" in out and "negative log-likelihood" in out
    assert "binarise stochastic" in out
    status, out, err = daezoo_command("evaluate", "runs/variational-mnist/run", "--likelihood", "3", "--json")
    found = json.loads(out)
    assert 0 < found["nll"] < 784 and found["samples"] == 20 and found["codes"] == 3
    for wrong, message in ((["--level", "0.3"], "leave --level out"), (["--baselines"], "leave --baselines out")):
        status, _, err = daezoo_command("evaluate", "runs/variational-mnist/run", "--likelihood", "3", *wrong)
        assert status == 2 and message in err
    status, _, err = daezoo_command("evaluate", "runs/variational-mnist/run", "--likelihood", "0")
    assert status == 2 and "one code of each sample or more, got 0" in err


def test_a_zoo_entry_of_binary_images_says_the_likelihood_and_it_is_measured_again(daezoo_command, workplace, root):
    small = ("--data.root", root, "--data.valid", "10", "--data.batch_size", "10", "--data.binarise", "stochastic")
    smaller = ("--model.hidden", "[8]", "--trainer.max_epochs", "1", "--name", "run")
    status, _, err = daezoo_command(*fit_arguments("variational", "mnist", *small, *smaller))
    assert status == 0, err
    target = opened("runs/variational-mnist/run")
    (metric,) = (one for one in measure(target) if one.name == "nll")
    assert metric.protocol == "iw-nll-v1-k100"
    assert metric.value == estimate(target.model, target.data, 100)["nll"]
    chance = target.data.splits["train"].mean().clamp(1e-3, 0.999)
    images = whole(target.data.splits["test"]).clean / 255
    expected = binary_cross_entropy(chance.expand_as(images), images, reduction="sum") / 20
    assert metric.baselines["independent pixels"] == pytest.approx(expected.item(), rel=1e-5)
    (found,) = again([metric], target)
    assert found.holds and found.value == metric.value
    (found,) = again([metric.model_copy(update={"protocol": "iw-nll-v1-k2"})], target)
    assert found.value > metric.value
