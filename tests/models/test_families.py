"""What is particular to one family; what all have in common is in test_contracts.py."""

import subprocess
import sys
from math import cos, pi

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.strategies import FSDPStrategy

from conftest import build, fit_arguments
from daezoo.architectures import ConvStack, UNet
from daezoo.corruption import Masking
from daezoo.data import DigitsData
from daezoo.losses import Contractive, CrossEntropy, KLSparsity, L1Sparsity, SquaredError
from daezoo.models import ConvDAE, ResidualDAE, StackedDAE, VanillaDAE, residual
from daezoo.optim import AdamW
from daezoo.zoo.loading import load

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def quick_trainer(folder, **options):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return L.Trainer(default_root_dir=folder, accelerator="cpu", num_sanity_val_steps=0, **quiet, **options)


@pytest.mark.parametrize("model", [VanillaDAE([1, 8, 8]), StackedDAE([1, 8, 8]), ConvDAE([1, 8, 8])])
def test_a_shape_that_does_not_fit_is_an_error(model):
    for call in (model.encode, model.denoise):
        with pytest.raises(ValueError, match=r"expects samples of shape \(batch, 1, 8, 8\), got \(5, 1, 9, 8\)"):
            call(torch.rand(5, 1, 9, 8))


@pytest.mark.parametrize("family", [VanillaDAE, StackedDAE])
def test_fully_connected_families_take_vectors(family):
    model = family([7], hidden=[4])
    assert model.denoise(torch.rand(3, 7)).shape == (3, 7)
    assert model.encode(torch.rand(3, 7)).shape == (3, 4)
    assert model.filters() is None


def test_an_untrained_residual_model_is_the_identity_on_images_of_any_size():
    model = ResidualDAE([3, 8, 8], ConvStack(width=4, depth=3))
    for size in ((8, 8), (5, 31)):
        images = torch.rand(2, 3, *size)
        assert torch.equal(model.denoise(images), images)
        assert model.encode(images).shape == (2, 4)
    with pytest.raises(ValueError, match=r"images of shape \(batch, 3, height, width\), got \(2, 1, 8, 8\)"):
        model.denoise(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("network", "condition"),
    [
        (ConvStack(4, 5), "none"),
        (ConvStack(4, 4, norm=True, shuffle=2), "map"),
        (ConvStack(4, 3, shuffle=3), "none"),
        (UNet((4, 6, 8), 1), "film"),
    ],
    ids=["stack", "shuffled", "by three", "u-net"],
)
def test_a_large_image_is_denoised_in_tiles_as_it_would_be_whole(monkeypatch, network, condition):
    torch.manual_seed(0)
    model = ResidualDAE([3, 8, 8], network, condition).double().eval()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.02, 0.1)  # positive, so that all that is within reach is felt
    images, level = torch.rand(2, 3, 37, 170, dtype=torch.float64), torch.tensor([0.1, 0.4])
    whole = model(images, level)
    seen: list[tuple[int, ...]] = []
    model.network.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape[2:])))
    monkeypatch.setattr(residual, "TILE", 16)
    tiles = [(place, tile.double()) for place, tile in model.tiles(images, level)]
    for place, tile in tiles:
        torch.testing.assert_close(tile, whole[place], atol=1e-12, rtol=1e-6)
    assert len(tiles) == len(seen) == len(model.corners(37, 170)) > 30 - 3
    assert max(width for _, width in seen) <= 16 + 2 * (model.network.reach + model.network.stride) < 170
    assert (whole - images).abs().min() > 0


def test_a_model_that_is_told_the_noise_level_asks_for_it():
    model = ResidualDAE([1, 8, 8], condition="map").eval()
    with pytest.raises(ValueError, match=r"is conditioned on the noise level \(map\): pass it"):
        model.denoise(IMAGES)
    assert torch.equal(model.denoise(IMAGES, 0.1), IMAGES)
    assert torch.equal(model.denoise(IMAGES, torch.full((5,), 0.1)), IMAGES)
    assert model.encode(IMAGES).shape == (5, 64)
    torch.testing.assert_close(model.encode(IMAGES), model.network.features(IMAGES, torch.zeros(5)).mean((2, 3)))


@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf"), torch.rand(3), torch.rand(5, 1, 1, 1)])
def test_a_noise_level_that_does_not_fit_is_an_error(level):
    model = ResidualDAE([1, 8, 8], condition="map").eval()
    with pytest.raises(ValueError, match="a number, or one for each of the 5 images, finite and at least 0; got"):
        model.denoise(IMAGES, level)


def rates(model, data, folder, **options):
    """The learning rate of every step of a training."""
    seen = []

    class Note(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen.append(optimizer.param_groups[0]["lr"])

    quick_trainer(folder, callbacks=[Note()], limit_train_batches=4, limit_val_batches=0, **options).fit(model, data)
    return seen


def falling(steps: int) -> list[float]:
    return [0.0, *(0.05 * (1 + cos(pi * step / steps)) for step in range(1, steps))]


@pytest.mark.parametrize("end", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 8}], ids=["epochs", "steps"])
def test_a_cosine_schedule_falls_over_the_whole_training(end, tmp_path):
    model, data = build("vanilla", optimizer=AdamW(0.1, schedule="cosine"))
    assert rates(model, data, tmp_path, **end) == pytest.approx(falling(8))


def test_a_cosine_schedule_falls_in_every_phase_of_a_stack(tmp_path):
    model, data = build(
        "stacked", hidden=[6, 5], epochs_per_layer=1, end_to_end_epochs=2, code_corruption=[Masking(0.5)],
        optimizer=AdamW(0.1, schedule="cosine"),
    )  # fmt: skip
    assert rates(model, data, tmp_path, max_epochs=4) == pytest.approx([*falling(4), *falling(4), *falling(8)])


def test_a_stack_refuses_a_strategy_that_moves_resting_layers(tmp_path):
    model, _ = build("stacked")
    trainer = quick_trainer(tmp_path, max_epochs=model.total_epochs)
    model.check_trainer(trainer)
    trainer._accelerator_connector.strategy = FSDPStrategy()  # the Trainer itself wants a GPU for it
    with pytest.raises(ValueError, match=r"FSDP gives the others gradients of zero, by .* Use --trainer\.strategy ddp"):
        model.check_trainer(trainer)


def test_a_cosine_schedule_needs_an_end(tmp_path):
    model, data = build("vanilla", optimizer=AdamW(schedule="cosine"))
    with pytest.raises(ValueError, match=r"falls \(cosine\) needs an end of the training"):
        quick_trainer(tmp_path, max_epochs=-1).fit(model, data)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_can_be_clipped_in_every_precision(precision, tmp_path):
    model, data = build("vanilla")
    quick_trainer(tmp_path, max_steps=1, precision=precision, gradient_clip_val=0.1, barebones=False).fit(model, data)
    assert not model.optimizers().optimizer.defaults["fused"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("every", "expected"), [(0, [11]), (4, [3, 7, 11])])
def test_training_losses_are_noted_only_in_the_steps_that_are_recorded(every, expected, tmp_path, monkeypatch):
    model, data = build("vanilla")
    noted = []
    monkeypatch.setattr(model, "log_dict", lambda values, **_: noted.append((model.global_step, *values)))
    trainer = quick_trainer(
        tmp_path, max_epochs=1, limit_train_batches=12, limit_val_batches=0, use_distributed_sampler=False
    )
    trainer.log_every_n_steps = every
    trainer.fit(model, data)
    assert noted == [(step, "train/loss", "train/reconstruction") for step in expected]


@pytest.mark.slow  # the compiler takes a while
@pytest.mark.parametrize("model", ["stacked", "conv"])
def test_a_compiled_model_trains_like_one_that_is_not(model, workplace):
    # in processes of their own, because the run-time checks of shapes are not for the compiler
    schedule = ["--model.epochs_per_layer", "1"] if model == "stacked" else ["--trainer.max_epochs", "1"]
    options = [*schedule, "--trainer.precision", "32-true", "--trainer.limit_train_batches", "4"]
    if model == "stacked":
        options += ["--model.end_to_end_epochs", "1"]
    for name in (["plain"], ["compiled", "--compile", "default"]):
        command = [sys.executable, "-m", "daezoo", *fit_arguments(model, "digits", *options, "--name", *name)]
        subprocess.run(command, check=True, capture_output=True)
    plain, compiled = (load(f"runs/{model}-digits/{name}").state_dict() for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    for name, weights in plain.items():
        torch.testing.assert_close(compiled[name], weights, atol=1e-3, rtol=0)


def test_residual_refuses_a_bounded_output_and_vectors():
    with pytest.raises(ValueError, match="unbounded output and cannot train with CrossEntropy"):
        ResidualDAE([1, 8, 8], loss=CrossEntropy())
    with pytest.raises(ValueError, match="needs images"):
        ResidualDAE([8])


def test_cross_entropy_denoises_into_the_unit_interval_and_squared_error_does_not_squash():
    bounded = VanillaDAE([1, 8, 8], hidden=[4], loss=CrossEntropy()).denoise(10 * IMAGES)
    assert 0 < bounded.min() <= bounded.max() < 1
    model = VanillaDAE([1, 8, 8], hidden=[4], loss=SquaredError())
    assert torch.equal(model.denoise(IMAGES), model(IMAGES))


def test_a_target_outside_the_unit_interval_stops_cross_entropy_at_the_first_batch(tmp_path):
    data = DigitsData(batch_size=32)
    data.setup()
    data.splits["train"].clean *= 2
    with pytest.raises(ValueError, match=r"CrossEntropy needs data in \[0, 1\], got values from 0 to 2"):
        quick_trainer(tmp_path, max_epochs=1).fit(VanillaDAE([1, 8, 8], [4], loss=CrossEntropy()), data)


@pytest.mark.parametrize("family", [VanillaDAE, StackedDAE])
def test_every_penalty_is_trained_validated_and_logged_under_its_own_name(tmp_path, family):
    penalties = [L1Sparsity(0.1), KLSparsity(0.1), Contractive(0.1)]
    phases = {"epochs_per_layer": 1, "end_to_end_epochs": 1} if family is StackedDAE else {}
    model = family([1, 8, 8], hidden=[6, 5], penalties=penalties, **phases)
    trainer = quick_trainer(tmp_path, max_epochs=3, limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, DigitsData(batch_size=32))
    for split in ("train", "val"):
        logged = {name: float(trainer.callback_metrics[f"{split}/{name}"]) for name in ("reconstruction", "loss")}
        terms = [float(trainer.callback_metrics[f"{split}/{penalty.name}"]) for penalty in penalties]
        assert min(terms) > 0
        assert sum(terms) + logged["reconstruction"] == pytest.approx(logged["loss"], rel=1e-5)


def test_kl_sparsity_refuses_codes_that_are_no_probabilities(tmp_path):
    for model in (
        VanillaDAE([1, 8, 8], [4], "relu", penalties=[KLSparsity()]),
        ConvDAE([1, 8, 8], penalties=[KLSparsity()]),
    ):
        with pytest.raises(ValueError, match=r"KLSparsity needs codes in \[0, 1\]"):
            quick_trainer(tmp_path, max_epochs=1).fit(model, DigitsData())
    with pytest.raises(ValueError, match="may appear once"):
        VanillaDAE([4], penalties=[L1Sparsity(), L1Sparsity()])


def test_contractive_penalty_refuses_batch_normalisation(tmp_path):
    model = ConvDAE([1, 8, 8], batch_norm=True, penalties=[Contractive()])
    with pytest.raises(ValueError, match="Set batch_norm: false, or leave the penalty out"):
        quick_trainer(tmp_path, max_epochs=1).fit(model, DigitsData())


def test_the_active_layer_follows_from_the_epoch_and_is_the_whole_stack_outside_fit(tmp_path):
    model = StackedDAE([1, 8, 8], hidden=[6, 5], epochs_per_layer=2, end_to_end_epochs=1)
    assert model.total_epochs == 5
    assert model.active_layer is None
    seen = []

    class Watch(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append(pl_module.active_layer)

    trainer = quick_trainer(tmp_path, max_epochs=5, limit_train_batches=1, limit_val_batches=1, callbacks=[Watch()])
    data = DigitsData(batch_size=32)
    trainer.fit(model, data)
    assert seen == [0, 0, 1, 1, None]
    assert {"val/layer1", "val/layer2", "val/stack"} <= trainer.callback_metrics.keys()
    trainer.validate(model, data, verbose=False)
    assert model.active_layer is None


def test_upper_layers_train_on_clean_codes_corrupted_at_their_own_input():
    model = StackedDAE([1, 8, 8], hidden=[6, 5], code_corruption=[Masking(1.0)])
    batch = next(DigitsData(batch_size=32).evaluation_batches("valid"))
    layer = model.network.layers[1]
    codes = model.network.layers[0].encode(batch.clean.flatten(1))
    # everything is masked, so the layer sees zeros and has to give back the clean codes
    output = layer.decode(layer.encode(torch.zeros_like(codes)))
    expected = model.code_loss(output, codes).mean()
    assert torch.allclose(model.layer_terms(1, batch)["reconstruction"], expected)


def test_stacked_refuses_schedules_that_do_not_fit(tmp_path):
    model = StackedDAE([1, 8, 8], hidden=[6, 5], epochs_per_layer=2, end_to_end_epochs=1)
    with pytest.raises(ValueError, match="5 in all, but max_epochs is 3"):
        quick_trainer(tmp_path, max_epochs=3).fit(model, DigitsData())
    with pytest.raises(ValueError, match="cannot stop early on val/loss"):
        quick_trainer(tmp_path, max_epochs=5, callbacks=[EarlyStopping("val/loss")]).fit(model, DigitsData())
    with pytest.raises(ValueError, match="needs 1 code corruptions, one for each layer above the first, got 2"):
        StackedDAE([4], hidden=[6, 5], code_corruption=[Masking(), Masking()])
    with pytest.raises(ValueError, match="epochs_per_layer >= 1"):
        StackedDAE([4], epochs_per_layer=0)


def test_channels_last_changes_the_memory_order_and_not_the_result():
    networks = [build("conv", channels_last=flag)[0] for flag in (True, False)]
    networks[1].load_state_dict(networks[0].state_dict())
    orders = [network.network.get_parameter("decoder.0.weight").stride()[1] for network in networks]
    assert orders == [1, 100]
    torch.testing.assert_close(networks[0].denoise(IMAGES), networks[1].denoise(IMAGES))


def test_the_bottom_of_a_stack_is_what_training_fewer_layers_gives():
    phases = {"epochs_per_layer": 1, "end_to_end_epochs": 0}
    torch.manual_seed(0)
    whole, data = build("stacked", hidden=[12, 8, 6], **phases)
    torch.manual_seed(0)
    noise = [Masking(0.5)]
    fewer = StackedDAE([1, 8, 8], [12, 8], "relu", True, **phases, code_corruption=noise, loss=whole.loss)
    for model in (whole, fewer):
        data = DigitsData(batch_size=32)
        L.Trainer(
            accelerator="cpu", max_epochs=model.total_epochs, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        ).fit(model, data)  # fmt: skip
    bottom = whole.eval().bottom(2)
    assert not bottom.training
    assert bottom.hparams["hidden"] == [12, 8]
    for name, value in fewer.state_dict().items():
        assert torch.equal(bottom.state_dict()[name], value), name
    with torch.no_grad():
        bottom.network.layers[0].weight.zero_()
    assert whole.network.layers[0].weight.any()
    with pytest.raises(ValueError, match="layers must lie between 1 and 3, got 0"):
        whole.bottom(0)


def test_emphasis_holds_for_codes_too():
    stack = StackedDAE([6], hidden=[4, 3], loss=CrossEntropy(1, 0))
    assert stack.code_loss == CrossEntropy(1, 0)
    assert StackedDAE([6], hidden=[4, 3], activation="relu", loss=SquaredError(1, 0.5)).code_loss == SquaredError(
        1, 0.5
    )


@pytest.mark.parametrize("family", [VanillaDAE, StackedDAE, ConvDAE])
def test_a_classifier_gives_logits_of_the_code_and_there_is_none_unless_added(family):
    model = family([1, 8, 8]).eval()
    names = set(model.state_dict())
    with pytest.raises(ValueError, match="has no classifier"):
        model.classify(IMAGES)
    model.add_classifier([3, 5, 8], model.encode(IMAGES).shape[1])
    assert set(model.state_dict()) - names == {"classifier.weight", "classifier.bias"}
    assert model.labels == (3, 5, 8)
    logits = model.classify(IMAGES)
    assert logits.shape == (5, 3)
    assert model.classifier is not None
    assert torch.equal(logits, model.classifier(model.encode(IMAGES)))
