"""The theory holds, a broken formula is seen, and a model is judged beside the optimal denoiser."""

import inspect
import json
from contextlib import redirect_stdout
from io import StringIO
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from conftest import build, fit_arguments
from daezoo import theory
from daezoo.cli import main
from daezoo.corruption import Gaussian, Masking
from daezoo.data import DigitsData, TableData
from daezoo.learned_noise import LearnedNoise
from daezoo.models import VanillaDAE
from daezoo.schedule import Progressive, Uniform

# name of a formula, a check that has to notice, and what is wrong
BROKEN = [
    ("tweedie", theory.check_tweedie, lambda noisy, score, sigma: noisy + sigma * score),
    ("tweedie", theory.check_tweedie, lambda noisy, score, sigma: noisy - sigma**2 * score),
    ("score_of", theory.check_score, lambda denoised, noisy, sigma: (denoised - noisy) / sigma),
    ("score_of", theory.check_score_matching, lambda denoised, noisy, sigma: (noisy - denoised) / sigma**2),
    (
        "denoising_objective",
        theory.check_score_matching,
        lambda denoised, clean, sigma: (denoised - clean).square().sum(-1) / sigma**2,
    ),
    ("matching_constant", theory.check_score_matching, lambda dimensions, fisher, sigma: dimensions / sigma**2),
    ("small_noise", theory.check_small_noise, lambda r, x: theory.encoder_norm(r, x)),  # no curvature
    ("small_noise", theory.check_small_noise, lambda r, x: theory.encoder_norm(r.encode, x)),
    # the right formula where the wrong one is shown to fail
    ("encoder_norm", theory.check_small_noise, lambda f, x: theory.small_noise(f.__self__, x)),
    ("bayes_risk", theory.check_bayes_risk, lambda dimensions, fisher, sigma: dimensions * sigma**2),
    ("identity_excess", theory.check_identity, lambda fisher, sigma: sigma**2 * fisher),
    ("principal_directions", theory.check_pca, lambda covariance, code: torch.linalg.eigh(covariance)[1][:, :code]),
    ("shrinkage", theory.check_pca, lambda variances, sigma: torch.ones_like(variances)),
    ("projection", theory.check_curve, lambda noisy, radius: noisy),
    ("shortfall", theory.check_curve, lambda distance: 1 / distance),
    ("shortfall", theory.check_curve, lambda distance: 1 / 3),  # right on the circle alone
    ("linear_risk", theory.check_sampling, lambda gain, mean_square, sigma: (1 - gain) ** 2 * mean_square),
    ("half_interval", theory.check_sampling, lambda errors: 1.96 * errors.std(-1) / errors.shape[-1]),
    ("half_interval", theory.check_sampling, lambda errors: 1.96 * errors.std(-1)),
]
HELPERS = {"compared", "converging", "gradient", "levels", "noisy_points", "log_joint", "log_noisy", "level_of"}
HELPERS |= {"noisy_samples", "asymmetry", "report", "print_checks", "run"}


def keep(folder: Path, model, data) -> str:
    """A run folder of a model that has not been trained: its checkpoint only."""
    (folder / "checkpoints").mkdir(parents=True)
    hyperparameters = {"hyper_parameters": dict(model.hparams), "datamodule_hyper_parameters": dict(data.hparams)}
    torch.save({"state_dict": model.state_dict(), **hyperparameters}, folder / "checkpoints" / "last.ckpt")
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run on the digits under Gaussian noise."""
    folder = tmp_path_factory.mktemp("runs")
    options = ["--model.hidden", "[16]", "--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    with redirect_stdout(StringIO()), patch("daezoo.figures.save_all", return_value=[]):
        assert main(fit_arguments("vanilla", "digits", *options, "--runs", str(folder))) == 0
    return str(folder / "vanilla-digits" / "1")


@pytest.fixture
def unchecked(monkeypatch):
    """Only what is said of the model."""
    monkeypatch.setattr(theory, "CHECKS", ())


def test_the_quick_checks_hold_and_are_the_same_in_every_run(capsys):
    assert main(["theory", "check", "--quick"]) == 0
    table = capsys.readouterr().out
    assert main(["theory", "check", "--quick"]) == 0
    assert capsys.readouterr().out == table
    assert "FAILED" not in table and table.count("│ ok │") == len(table.splitlines()) - 4 > 15
    assert "differs, as it must" in table


@pytest.mark.slow
def test_all_checks_hold(daezoo_command):
    status, out, err = daezoo_command("theory", "check", "--json")
    assert status == 0, out + err
    rows = json.loads(out)["checks"]
    assert len(rows) > 25 and all(row["ok"] for row in rows)
    orders = [row["order"] for row in rows if row["order"] is not None and "wrong" not in row["name"]]
    assert orders == pytest.approx([2] * 4, abs=0.05)


@pytest.mark.parametrize(("name", "check", "broken"), BROKEN, ids=[f"{row[0]}-{k}" for k, row in enumerate(BROKEN)])
def test_a_broken_formula_is_seen(monkeypatch, name, check, broken):
    monkeypatch.setattr(theory, name, broken)
    assert not all(row.ok for row in check(True))


def test_every_formula_is_broken_once():
    functions = {
        name
        for name, value in vars(theory).items()
        if inspect.isfunction(value) and inspect.unwrap(value).__module__ == "daezoo.theory"
    }
    formulas = {name for name in functions - HELPERS if not name.startswith("check_")}
    assert formulas == {name for name, _, _ in BROKEN}
    assert {check.__name__ for check in theory.CHECKS} == {check.__name__ for _, check, _ in BROKEN}


def test_a_failure_is_status_1_after_the_table(daezoo_command, monkeypatch):
    monkeypatch.setattr(theory, "CHECKS", (theory.check_curve,))
    monkeypatch.setattr(theory, "shortfall", lambda distance: 1.0)
    status, out, _ = daezoo_command("theory", "check", "--quick")
    assert status == 1
    assert out.count("FAILED") == 2 and out.count("ok") == 2
    status, out, _ = daezoo_command("theory", "check", "--quick", "--json")
    assert status == 1
    assert [row["ok"] for row in json.loads(out)["checks"]] == [False, False, True]


def test_what_is_not_a_number_fails():
    assert theory.compared("", torch.tensor([1.0, float("nan")]), 1.0, 0.1).ok is False
    assert theory.converging("", [1.0, 1.0, float("nan")], 1.0, 0.1).ok is False


def test_a_model_beside_the_optimal_denoiser(daezoo_command, workplace, unchecked, trained):
    status, out, err = daezoo_command("theory", "check", trained, "--json", "--device", "cpu")
    assert status == 0, err
    rows = json.loads(out)["checks"]
    assert [row["ok"] for row in rows] == [None] * 5
    train, apart, test, _, unlike = rows
    # the optimum of the training samples is optimal on them: its error and the distance from it add up
    assert train["measured"] == pytest.approx(train["expected"] + apart["measured"], rel=0.05)
    assert 0 < train["expected"] < train["measured"] < 0.25
    assert "σ = 0.5" in test["name"] and 0 < unlike["measured"] < 1
    evaluated = json.loads(daezoo_command("evaluate", trained, "--json", "--device", "cpu")[1])
    assert test["measured"] == pytest.approx(evaluated["mse"], rel=1e-5)
    status, out, _ = daezoo_command("theory", "check", trained, "--device", "cpu")
    assert status == 0 and out.count("│ –") == 5


def test_the_level_is_that_of_the_training_or_the_one_given(unchecked, daezoo_command, workplace):
    def level(corruption, sigma=None, model=None):
        return theory.level_of(SimpleNamespace(model=model, data=DigitsData(corruption)), sigma)

    assert level(Gaussian(0.3)) == 0.3
    assert level(Gaussian(0.3), 0.1) == 0.1
    assert level(Gaussian(Progressive(0.1, 0.4))) == 0.4
    assert level(Gaussian(0.3), model=VanillaDAE([64], [8], penalties=[LearnedNoise(initial=0.2)])) == pytest.approx(
        0.2
    )
    for corruption, sigma in ((Gaussian(Uniform(0.1, 0.4)), None), (Masking(0.3), None), (Gaussian(0.0), None)):
        with pytest.raises(ValueError, match=r"Gaussian noise of one level above 0, got .*--sigma 0\.5"):
            level(corruption, sigma)
    with pytest.raises(ValueError, match="got -1"):
        level(Masking(0.3), -1.0)
    # a model that has to be told the level is told it
    model, data = build("residual", condition="map")[0], DigitsData(Gaussian(Uniform(0.1, 0.4)), batch_size=64)
    run = keep(workplace / "conditioned", model, data)
    status, _, err = daezoo_command("theory", "check", run, "--device", "cpu")
    assert status == 2 and "Uniform(low=0.1, high=0.4)" in err and "--sigma" in err
    status, out, err = daezoo_command("theory", "check", run, "--sigma", "0.2", "--device", "cpu", "--json")
    assert status == 0, err
    assert all("σ = 0.2" in row["name"] for row in json.loads(out)["checks"][:4:2])


def test_the_asymmetry_of_known_jacobians():
    x = torch.randn(16, 1, 2, 3, dtype=torch.float64)
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (matrix - matrix.T).norm() / (matrix + matrix.T).norm()
    found = theory.asymmetry(lambda x: (x.flatten(1) @ matrix.T).view(-1, 1, 2, 3), x)
    assert found == pytest.approx(expected.item(), rel=4 / sqrt(theory.PROBES * len(x)))
    # the best denoiser is a gradient field: r*(x̃) = ∇(‖x̃‖²/2 + σ² log p_σ(x̃))
    assert theory.asymmetry(lambda x: theory.PLANE.posterior_mean(x, 0.4), x.view(-1, 2)) < 1e-10
    assert theory.asymmetry(lambda x: 0 * x, x) == float("inf")


def test_samples_with_gaps_are_refused(workplace):
    rows = "\n".join(f"{k},{k % 7 if k % 5 else ''}" for k in range(60))
    (workplace / "gaps.csv").write_text(f"a,b\n{rows}\n")
    data = TableData(str(workplace / "gaps.csv"), batch_size=8)
    data.setup("test")
    with pytest.raises(ValueError, match="without gaps"):
        theory.noisy_samples(data, "train", 20, 0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one command, check; got none"),
        (["prove"], "one command, check; got prove"),
        (["check", "--sigma", "0.5"], "--sigma is for a model"),
        (["check", "no-such-run"], "no-such-run"),
    ],
)
def test_what_is_not_understood_is_refused(daezoo_command, arguments, said):
    status, _, err = daezoo_command("theory", *arguments)
    assert status == 2 and said in err


def test_help(daezoo_command):
    for arguments in (["--help"], ["check", "--help"]):
        status, out, _ = daezoo_command("theory", *arguments)
        assert status == 0 and "--quick" in out
