from math import exp, log

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from daezoo.corruption import Clean, Gaussian, Masking
from daezoo.learned_noise import LearnedNoise
from daezoo.models import StackedDAE, VanillaDAE
from daezoo.schedule import Uniform
from test_losses import batch_of


def model_of(**arguments: float) -> VanillaDAE:
    torch.manual_seed(0)
    return VanillaDAE([6], [4], penalties=[LearnedNoise(**arguments)])


def test_the_penalty_is_the_divergence_of_torch():
    model, clean = model_of(weight=0.3, initial=0.2, prior=0.7), torch.rand(5, 6)
    reference = kl_divergence(Normal(clean, 0.2), Normal(clean, 0.7)).sum(1).mean()
    torch.testing.assert_close(model.penalties[0](model, batch_of(clean)), 0.3 * reference)


def test_noise_is_scaled_to_the_learnt_level_which_gets_gradients_from_the_reconstruction():
    model, clean = model_of(initial=0.2), torch.rand(5, 6)
    unit = torch.randn(5, 6)
    batch = batch_of(clean, clean + 0.5 * unit)._replace(level=torch.full((5,), 0.5))
    seen = model.penalties[0].adapt(model, batch)
    torch.testing.assert_close(seen.noisy, clean + 0.2 * unit)
    torch.testing.assert_close(seen.level, torch.full((5,), 0.2))
    model.loss_terms(seen)["reconstruction"].backward()
    assert model.log_sigma.grad != 0


@pytest.mark.parametrize("weight", [0.01, 0.1])
def test_sigma_neither_collapses_nor_grows_beyond_the_prior(weight):
    generator, model = torch.Generator().manual_seed(0), model_of(weight=weight, initial=0.01, prior=1.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(400):
        clean = torch.rand(64, 6, generator=generator)
        noisy = clean + torch.randn(64, 6, generator=generator)
        batch = batch_of(clean, noisy)._replace(level=torch.ones(64))
        optimizer.zero_grad()
        sum(model.loss_terms(model.penalties[0].adapt(model, batch)).values()).backward()
        optimizer.step()
    # data of variance 1/12: noise far below is cheap, and noise far above costs nothing more
    assert 0.05 < exp(model.log_sigma.item()) < 1.05


def test_it_is_logged_and_refused_where_it_makes_no_sense(daezoo_command, workplace):
    from conftest import fit_arguments

    small = ("--trainer.max_epochs", "1", "--model.hidden", "[8]", "--pictures", "false", "--name", "run")
    learnt = ("--model.penalties+=LearnedNoise", "--model.penalties.initial", "0.3")
    status, _, err = daezoo_command(*fit_arguments("vanilla", "digits", *learnt, *small))
    assert status == 0, err
    head, *rows = (workplace / "runs/vanilla-digits/run/metrics.csv").read_text().splitlines()
    levels = [row.split(",")[head.split(",").index("train/level")] for row in rows]
    assert next(float(level) for level in levels if level) == pytest.approx(0.3, abs=0.02)
    status, _, err = daezoo_command(*fit_arguments("vanilla", "digits", *learnt, "--data.corruption", "Masking"))
    assert status == 2
    assert "LearnedNoise scales Gaussian noise of a level above 0, got Masking" in err
    for wrong in (Clean(), Masking(0.3), Gaussian(0.0), Gaussian(Uniform(0.0, 0.5))):
        with pytest.raises(ValueError, match="LearnedNoise scales Gaussian noise"):
            LearnedNoise().check_corruption(wrong)
    LearnedNoise().check_corruption(Gaussian(0.5))
    with pytest.raises(ValueError, match="StackedDAE has layers that do not"):
        LearnedNoise().check(StackedDAE([6]))
    for name in ("weight", "initial", "prior"):
        with pytest.raises(ValueError, match=f"LearnedNoise {name} must be positive and finite, got 0"):
            LearnedNoise(**{name: 0.0})


def test_the_divergence_has_its_minimum_at_the_prior():
    below, at, above = (
        LearnedNoise(1.0, sigma, 0.5)(model_of(initial=sigma), batch_of(torch.rand(1, 1))).item()
        for sigma in (0.4, 0.5, 0.6)
    )
    assert at == pytest.approx(0, abs=1e-6) and min(below, above) > 0.01
    assert below == pytest.approx(0.32 - log(0.8) - 0.5, abs=1e-6)
