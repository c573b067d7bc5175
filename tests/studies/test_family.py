"""The study of the model family, on the smoke budget."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from conftest import CONFIGS, whole
from daezoo.data import DigitsData
from daezoo.models import ConvDAE, HierarchicalDAE, VanillaDAE, VariationalDAE
from daezoo.studies import family_figures
from daezoo.studies.cells import rows_of
from daezoo.studies.family import BUDGETS, MAPPED, MEMBERS, Trial, principal, sparsity, trials
from daezoo.studies.family_tables import section
from small_sets import dots, mnist_of

SMOKE = ("reproduce", "family", "--configs", str(CONFIGS), "--budget", "smoke")
TABLE = Path("docs/studies/family.csv")


def test_pca_is_a_linear_autoencoder():
    data = DigitsData()
    data.setup()
    images = whole(data.splits["train"]).clean
    pca = PCA(5).fit(images.flatten(1))
    model, test = principal(data, 5), whole(data.splits["test"]).clean
    expected = torch.from_numpy(pca.inverse_transform(pca.transform(test.flatten(1)))).view_as(test)
    torch.testing.assert_close(model.denoise(test), expected.float(), atol=1e-4, rtol=1e-4)
    codes = torch.from_numpy(pca.transform(test.flatten(1))).float()
    torch.testing.assert_close(model.encode(test).abs(), codes.abs(), atol=1e-3, rtol=1e-3)


def test_sparsity_is_zero_for_even_codes_and_one_for_a_single_unit():
    assert sparsity(torch.full((3, 4), -2.0)) == pytest.approx(0)
    assert sparsity(torch.tensor([[0.0, 3.0, 0.0, 0.0]])) == pytest.approx(1)
    assert sparsity(torch.zeros(2, 4)) == pytest.approx(1)
    # (2 − 7/5) / (2 − 1) of (3, 4, 0, 0)
    assert sparsity(torch.tensor([[3.0, 4.0, 0.0, 0.0]])) == pytest.approx(0.6)


def test_what_is_trained():
    members = ["pca", *MEMBERS]
    full = list(trials("full", "mnist", members, 3))
    assert len(full) == len(set(full)) == 3 * (1 + 3 * len(MEMBERS))
    assert not [one for one in trials("full", "digits", members, 1) if one.member == "variational-binary"]
    options = " ".join(Trial("full", "mnist", "stacked", 16, 0).options(55_000))
    assert "--model.epochs_per_layer 7 --model.end_to_end_epochs 9 --model.hidden [500, 500, 16]" in options
    options = " ".join(Trial("minutes", "mnist", "variational-binary", 2, 0).options(10_000))
    assert "--data.binarise stochastic --data.corruption Clean" in options
    assert "--trainer.max_epochs 5 --model.code 2 --model.hidden [200, 200]" in options
    assert "--data.train" not in " ".join(Trial("minutes", "digits", "sparse", 2, 0).options(1_257))


def test_the_section_says_what_rows_say():
    usual = {"budget": "full", "data": "mnist", "code": "16", "raw_pixels": "0.92", "knn": "0.9", "invariance": "0.8"}
    usual |= {"between": "0.1", "effective_rank": "9.5", "sparsity": "0.25", "mse": "0.02", "mse_clean": "0.01"}
    rows = [
        usual | {"member": "sparse", "seed": str(seed), "accuracy": str(0.9 + seed / 100), "seconds": "60"}
        for seed in (0, 1)
    ]
    text = section(rows)
    assert "### mnist, codes of 16 units, budget full" in text
    line = next(one for one in text.splitlines() if one.startswith("| sparse"))
    assert "| 90.50 ± 0.71 | 90.00 ± 0.00 |  | 0.800 ± 0.000 (0.100 ± 0.000) | 9.5 ± 0.0 | 0.25 ± 0.00 |  | 60" in line
    assert "| raw pixels |  |  | 92.00 |" in text


@pytest.mark.parametrize(("option", "value"), [("--data", "cifar"), ("--members", "nobody"), ("--seeds", "0")])
def test_what_is_not_known_is_an_error(daezoo_command, workplace, option, value):
    status, _, err = daezoo_command(*SMOKE, option, value)
    assert status == 2
    assert option in err and value in err


@pytest.mark.slow
def test_every_member_is_trained_and_judged_once(daezoo_command, workplace, monkeypatch):
    args = (*SMOKE, "--data", "digits")
    status, _, err = daezoo_command(*args)
    assert status == 0, err
    rows = rows_of(TABLE)
    assert [row["member"] for row in rows] == ["pca", *(name for name in MEMBERS if not MEMBERS[name].binary)]
    for row in rows:
        assert 0 < float(row["mse_clean"]) < float(row["mse"]) < 0.3
        assert 0 < float(row["accuracy"]) < 1
        assert 0 <= float(row["sparsity"]) <= 1
        assert (row["tuned_error"] == "") == (row["member"] == "pca")
    for name in ("maps", "reconstructions", "interpolations", "traversals"):
        assert Path(f"docs/images/family-{name}-digits-smoke.png").stat().st_size > 1000
    ran = []
    monkeypatch.setattr("daezoo.studies.cells.daezoo", lambda *args: ran.append(args))
    assert daezoo_command(*args)[0] == 0
    assert not ran
    assert rows_of(TABLE) == rows


@pytest.mark.slow
def test_binary_images_have_a_likelihood(daezoo_command, workplace, monkeypatch):
    root = mnist_of(workplace / "data", dots(np.linspace(80, 255, 500)), np.arange(500) % 10, 100)
    monkeypatch.setenv("DAEZOO_DATA", str(root))
    status, _, err = daezoo_command(*SMOKE, "--data", "mnist", "--members", "pca,variational-binary")
    assert status == 0, err
    pca, binary = rows_of(TABLE)
    assert pca["nll"] == "" and 0 < float(binary["nll"]) < 784
    assert binary["tuned_error"] == ""


def test_codes_are_decoded_as_by_the_model_itself():
    images = torch.rand(3, 1, 8, 8)
    for model in (VanillaDAE([1, 8, 8], [5, 4]), ConvDAE([1, 8, 8], [4], 3), VariationalDAE([1, 8, 8], [5], 2)):
        found = family_figures.decoded(model, model.encode(images))
        assert found is not None
        torch.testing.assert_close(found, model.denoise(images))
    assert family_figures.decoded(HierarchicalDAE([1, 8, 8]), torch.rand(3, 100)) is None
    assert MAPPED in BUDGETS["smoke"].codes
