"""Classifiers on an encoder, in training by Lightning."""

import lightning as L
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import build, whole
from daezoo.classifiers import FineTuned, LinearProbe, load_classifier
from daezoo.corruption import Clean
from daezoo.data import ArraysData, DigitsData
from daezoo.evaluation.features import extract
from daezoo.evaluation.probe import Part, linear_probe
from daezoo.optim import AdamW


def trainer(epochs: int, **others: object) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        use_distributed_sampler=False,
        **quiet,
        **{"enable_checkpointing": False} | others,
    )


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_streaming_probe_agrees_with_the_exact_one_and_leaves_the_encoder_alone():
    torch.manual_seed(0)
    encoder, _ = build("vanilla", hidden=[100])
    data = DigitsData(batch_size=32)
    data.setup()
    before = state_of(encoder)
    probe = LinearProbe(encoder, range(10))
    trainer(30).fit(probe, datamodule=data)
    test = whole(data.splits["test"])
    streamed = float((probe.eval().predict(test.clean) == test.label).float().mean())
    parts = (Part(extract(encoder, split, encoder.device)[-1], whole(split).label) for split in data.splits.values())
    exact = linear_probe(*parts, classes=10)
    assert exact.interval[0] <= streamed <= exact.interval[1]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in probe.encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def test_the_streaming_probe_standardises_by_the_training_split():
    encoder, _ = build("vanilla", hidden=[20], activation="sigmoid")
    data = DigitsData(batch_size=32)
    data.setup()
    probe = LinearProbe(encoder, range(10))
    trainer(1, limit_train_batches=1, limit_val_batches=0).fit(probe, datamodule=data)
    codes = encoder.encode(whole(data.splits["train"]).clean)
    assert torch.allclose(probe.mean, codes.mean(0), atol=1e-5)
    assert torch.allclose(probe.scale, codes.std(0, correction=0), atol=1e-5)


@pytest.mark.parametrize("model", ["vanilla", "stacked", "conv", "residual"])
def test_fine_tuning_trains_the_encoder_and_learns(model):
    torch.manual_seed(0)
    encoder, data = build(model)
    data.corruption = data.evaluation_corruption = Clean()
    data.setup()
    classifier = FineTuned(encoder, range(10), AdamW(3e-3)).train()
    before = state_of(encoder)
    test = whole(data.splits["valid"])
    untrained = float((classifier.predict(test.clean) == test.label).float().mean())
    trainer(1 if model == "residual" else 4).fit(classifier, datamodule=data)
    first = next(name for name, _ in encoder.named_parameters())
    assert not torch.equal(before[first], encoder.state_dict()[first])
    assert float((classifier.eval().predict(test.clean) == test.label).float().mean()) > max(untrained, 0.15)


def test_the_loss_is_cross_entropy_with_label_smoothing_on_noisy_samples():
    encoder, data = build("vanilla", hidden=[16])
    data.setup()
    classifier = FineTuned(encoder, range(10), label_smoothing=0.1)
    batch = next(data.evaluation_batches("train"))
    logged = {}
    classifier.log = lambda name, value, **others: logged.update({name: value})
    classifier._trainer = trainer(1)
    classifier._trainer.fit_loop.max_batches = 1
    loss = classifier.training_step(batch, 0)
    assert torch.equal(loss, F.cross_entropy(classifier(batch.noisy), batch.label, label_smoothing=0.1))
    assert not torch.equal(classifier(batch.noisy), classifier(batch.clean))


def test_labels_may_be_any_integers():
    encoder, _ = build("vanilla", hidden=[16])
    classifier = FineTuned(encoder, [100, 7, 3])
    assert set(classifier.predict(torch.rand(50, 1, 8, 8)).tolist()) <= {3, 7, 100}


def test_dropout_touches_every_layer_in_training_only():
    encoder, _ = build("stacked", hidden=[64, 64], code_corruption=None)
    classifier = FineTuned(encoder, range(10), dropout=0.5)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(classifier.eval()(x), classifier(x))
    classifier.train()
    torch.manual_seed(0)
    layers = encoder.encode_layers(x, classifier.dropout)
    plain = encoder.encode_layers(x)
    assert len(layers) == 2
    assert all(((dropped == 0) & (kept > 0)).any() for dropped, kept in zip(layers, plain, strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"labels": [1, 1]}, r"two classes or more, got \[1\]"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0.1"),
    ],
)
def test_bad_arguments(arguments, said):
    encoder, _ = build("vanilla", hidden=[16])
    with pytest.raises(ValueError, match=said):
        FineTuned(encoder, **{"labels": range(10)} | arguments)


@pytest.mark.parametrize(("kind", "model"), [(FineTuned, "conv"), (LinearProbe, "vanilla")])
def test_a_classifier_is_loaded_as_it_was(tmp_path, kind, model):
    encoder, data = build(model)
    classifier = kind(encoder, range(10))
    runner = trainer(1, limit_train_batches=1, limit_val_batches=1)
    runner.fit(classifier, datamodule=data)
    runner.save_checkpoint(tmp_path / "it.ckpt")
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(load_classifier(tmp_path / "it.ckpt")(x), classifier.eval()(x))


@pytest.mark.parametrize(("labels", "said"), [(range(9), "of class 9"), ([0, 2, 4, 9], "of class [135678]")])
def test_samples_of_other_classes_are_no_training_samples(labels, said):
    encoder, data = build("vanilla", hidden=[16])
    with pytest.raises(ValueError, match=said):
        trainer(1).fit(LinearProbe(encoder, labels), datamodule=data)


def test_samples_without_labels_are_no_training_samples(tmp_path):
    np.savez(tmp_path / "bare.npz", train_images=np.zeros((60, 8, 8)), test_images=np.zeros((9, 8, 8)))
    encoder, _ = build("vanilla", hidden=[16])
    data = ArraysData(str(tmp_path / "bare.npz"), batch_size=8)
    with pytest.raises(ValueError, match="of class -1"):
        trainer(1).fit(FineTuned(encoder, range(10)), datamodule=data)


def test_a_streaming_probe_needs_a_data_module_of_daezoo():
    encoder, _ = build("vanilla", hidden=[16])
    probe = LinearProbe(encoder, range(10))
    probe._trainer = trainer(1)
    with pytest.raises(ValueError, match="datamodule="):
        probe.on_fit_start()


def test_a_denoiser_is_no_classifier(tmp_path):
    encoder, data = build("vanilla", hidden=[16])
    data.setup()
    runner = trainer(1, limit_train_batches=1, limit_val_batches=1)
    runner.fit(encoder, datamodule=data)
    runner.save_checkpoint(tmp_path / "it.ckpt")
    with pytest.raises(ValueError, match="holds no classifier"):
        load_classifier(tmp_path / "it.ckpt")


def test_adversarial_samples_are_moved_to_where_the_loss_is_higher(monkeypatch):
    torch.manual_seed(0)
    encoder, data = build("vanilla", hidden=[20])
    data.setup()
    batch = whole(data.splits["valid"])
    target = batch.label
    seen = []
    plain = FineTuned(encoder, range(10))
    moved = FineTuned(encoder, range(10), adversarial=0.3)
    moved.head.load_state_dict(plain.head.state_dict())
    forward = FineTuned.forward
    monkeypatch.setattr(FineTuned, "forward", lambda self, x: (seen.append(x), forward(self, x))[1])
    usual, worse = (model.training_loss(batch.clean, target).item() for model in (plain, moved))
    assert worse > usual
    step = (seen[-1] - batch.clean).flatten(1).norm(dim=1)
    assert torch.allclose(step, torch.full_like(step, 0.3), atol=1e-5)
    # to first order, the loss rises by the radius times the norm of its gradient
    x = batch.clean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(forward(plain, x), target, reduction="sum"), x)
    small = FineTuned(encoder, range(10), adversarial=1e-3)
    small.head.load_state_dict(plain.head.state_dict())
    rise = small.training_loss(batch.clean, target).item() - usual
    assert rise == pytest.approx(1e-3 * gradient.flatten(1).norm(dim=1).mean().item(), rel=0.05)


@pytest.mark.parametrize("adversarial", [-1.0, float("nan"), float("inf")])
def test_a_radius_out_of_range_is_an_error(adversarial):
    with pytest.raises(ValueError, match="adversarial must be finite and at least 0"):
        FineTuned(build("vanilla")[0], range(10), adversarial=adversarial)
