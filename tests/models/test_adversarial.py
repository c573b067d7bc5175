import pytest
import torch
from torch.nn import functional as F

from daezoo.losses import CrossEntropy
from daezoo.models import AdversarialDAE
from daezoo.priors import Mixture, Normal
from daezoo.randomness import StepNoise
from test_losses import batch_of


def model_of(**arguments) -> AdversarialDAE:
    torch.manual_seed(0)
    return AdversarialDAE([6], [5], 2, discriminator=[4], loss=CrossEntropy(), **arguments)


def reference(model: AdversarialDAE, x: torch.Tensor, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of the discriminator and of the encoder, as two trainings would have them."""
    code, ones, zeros = model.encode(x), torch.ones(len(x), 1), torch.zeros(len(x), 1)
    entropy = F.binary_cross_entropy_with_logits
    told = entropy(model.discriminator(drawn), ones) + entropy(model.discriminator(code), zeros)
    return told, entropy(model.discriminator(code), ones)


def test_each_part_gets_the_gradients_of_its_own_loss_alone():
    model, x = model_of(weight=0.7, smoothness=3.0), torch.rand(9, 6)
    batch = batch_of(x)
    drawn = batch.noise(Normal(), torch.zeros(9, 2), "prior").noisy
    told, against = reference(model, x, drawn)
    terms = model.loss_terms(batch)
    torch.testing.assert_close(terms["discriminator"], told)
    torch.testing.assert_close(terms["adversarial"], 0.7 * against)
    sum(terms.values()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    judge, encoder = list(model.discriminator.parameters()), list(model.encoder.parameters())
    drawn.requires_grad_()
    (slope,) = torch.autograd.grad(model.discriminator(drawn).sum(), drawn, create_graph=True)
    smooth = 0.5 * 3.0 * slope.square().sum(1).mean()
    torch.testing.assert_close(terms["smoothness"], smooth)
    expected = torch.autograd.grad(told + smooth, judge, retain_graph=True, allow_unused=True)
    for (name, _), gradient in zip(model.discriminator.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[f"discriminator.{name}"], gradient)
    rest = model.loss(model(x), x).mean() + 0.7 * against
    for (name, _), gradient in zip(model.encoder.named_parameters(), torch.autograd.grad(rest, encoder), strict=True):
        torch.testing.assert_close(found[f"encoder.{name}"], gradient)


def test_codes_come_to_follow_the_prior():
    torch.manual_seed(0)
    model = AdversarialDAE([6], [32], 2, discriminator=[32])
    x = torch.rand(256, 6, generator=torch.Generator().manual_seed(0))
    before = model.encode(x).std(0)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(500):
        optimizer.zero_grad()
        sum(model.loss_terms(batch_of(x, noise=StepNoise(0, step))).values()).backward()
        optimizer.step()
    codes = model.encode(x)
    assert before.max() < 0.3
    assert codes.mean(0).abs().max() < 0.2
    assert 0.8 < codes.std(0).min() <= codes.std(0).max() < 1.2


def test_arguments_that_make_no_sense_are_errors_and_evaluation_needs_no_gradients():
    with pytest.raises(ValueError, match=r"weight and smoothness must be finite and at least 0, got -1\.0 and 1\.0"):
        model_of(weight=-1.0)
    with torch.no_grad():
        assert "smoothness" not in model_of().loss_terms(batch_of(torch.rand(3, 6)))
    with pytest.raises(ValueError, match="A Mixture lies on a circle of two units, got codes of 1"):
        AdversarialDAE([6], [5], 1, prior=Mixture())
