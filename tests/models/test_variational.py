from math import log

import lightning as L
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from daezoo.batch import Batch
from daezoo.corruption import Gaussian
from daezoo.data import DigitsData
from daezoo.likelihoods import FixedGaussian
from daezoo.losses import CrossEntropy, SquaredError
from daezoo.models import VariationalDAE
from daezoo.models.variational import divergence
from daezoo.randomness import SampleNoise
from test_losses import batch_of


def model_of(code: int = 2, **arguments) -> VariationalDAE:
    torch.manual_seed(0)
    return VariationalDAE([6], [5], code, loss=arguments.pop("loss", CrossEntropy()), **arguments).eval()


def binary(count: int) -> torch.Tensor:
    return (torch.rand(count, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def keyed(x: torch.Tensor, first: int = 0) -> Batch:
    return batch_of(x, noise=SampleNoise(0, "test", torch.arange(first, first + len(x))))


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    reference = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), reference)


def test_the_loss_is_the_negative_evidence_lower_bound_of_the_drawn_codes():
    model, x = model_of(), binary(9)
    terms = model.loss_terms(keyed(x))
    mean, log_variance = model.posterior(x)
    spread = (log_variance / 2).exp()
    draw = keyed(x).noise(Gaussian(1.0), torch.zeros_like(mean), "code").noisy
    output = Bernoulli(logits=model.decode(mean + spread * draw))
    torch.testing.assert_close(terms["reconstruction"], -output.log_prob(x).sum(1).mean())
    torch.testing.assert_close(terms["kl"], kl_divergence(Normal(mean, spread), Normal(0.0, 1.0)).sum(1).mean())


def test_a_samples_code_is_drawn_the_same_in_every_batch():
    model, x = model_of(), binary(9)
    whole = model.loss_terms(keyed(x))["reconstruction"]
    parts = [model.loss_terms(keyed(x[start : start + 3], start))["reconstruction"] for start in (0, 3, 6)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def by_quadrature(model: VariationalDAE, x: torch.Tensor) -> torch.Tensor:
    """log p(x) by the midpoint rule over codes of two units."""
    places = torch.linspace(-6, 6, 301)
    codes = torch.cartesian_prod(places, places)
    prior = Normal(0.0, 1.0).log_prob(codes).sum(1) + 2 * log(places[1] - places[0])
    with torch.no_grad():
        output = model.decode(codes)
        return torch.stack([(prior - model.loss(output, one.expand(len(codes), -1))).logsumexp(0) for one in x])


@pytest.mark.parametrize("loss", [CrossEntropy(), FixedGaussian(sigma=1.0)], ids=lambda loss: type(loss).__name__)
def test_the_importance_weighted_likelihood_is_that_of_quadrature_and_one_code_lies_below(loss):
    model, x = model_of(loss=loss), binary(8)
    for parameter in model.decoder.parameters():
        parameter.data.mul_(3)  # codes that matter
    exact = by_quadrature(model, x)
    estimate = model.log_likelihood(x, 20_000)
    torch.testing.assert_close(estimate, exact, atol=0.05, rtol=0)
    assert torch.equal(estimate, model.log_likelihood(x, 20_000))
    bound = torch.stack(
        [model.log_likelihood(x, 1, SampleNoise(seed, "test", torch.arange(8))) for seed in range(200)]
    ).mean(0)
    assert (bound < exact).all()


def test_one_code_is_the_evidence_lower_bound():
    model, x = model_of(), binary(1).expand(20_000, -1)
    terms = model.loss_terms(keyed(x))
    bound = model.log_likelihood(x, 1).mean()
    torch.testing.assert_close(bound, -(terms["reconstruction"] + terms["kl"]), atol=0.03, rtol=0)


def test_an_outlier_leaves_everything_finite():
    model, x = model_of(), torch.zeros(2, 6)
    x[0, 0] = 1e6
    mean, log_variance = model.posterior(x)
    assert log_variance.abs().max() <= 20
    assert divergence(mean, log_variance).isfinite().all() and model.denoise(x).isfinite().all()


def test_no_likelihood_without_a_likelihood_or_codes():
    with pytest.raises(ValueError, match="SquaredError is no likelihood"):
        model_of(loss=SquaredError()).log_likelihood(binary(2), 5)
    with pytest.raises(ValueError, match="binary data only"):
        model_of().log_likelihood(torch.full((2, 6), 0.5), 5)
    with pytest.raises(ValueError, match="one code of each sample or more, got 0"):
        model_of().log_likelihood(binary(2), 0)


@pytest.mark.parametrize(("name", "value"), [("beta", -1.0), ("beta", float("inf")), ("warmup_steps", -1)])
def test_arguments_out_of_range_are_errors(name, value):
    with pytest.raises(ValueError, match=r"needs beta >= 0 and warmup_steps >= 0"):
        model_of(**{name: value})


def test_beta_grows_over_the_first_steps_and_weighs_the_divergence(tmp_path):
    torch.manual_seed(0)
    model = VariationalDAE([1, 8, 8], [8], 2, beta=0.8, warmup_steps=4)
    weights = []

    class Note(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            weights.append(pl_module.weight)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    fit = L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_steps=6,
        callbacks=[Note()],
        enable_checkpointing=False,
        **quiet,
    )
    fit.fit(model, DigitsData(batch_size=32))
    assert weights == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    model.eval()
    assert model.weight == 0.8
    batch = keyed(torch.rand(3, 1, 8, 8))
    once = model.loss_terms(batch)["kl"]
    model.beta = 1.6
    torch.testing.assert_close(model.loss_terms(batch)["kl"], 2 * once)
