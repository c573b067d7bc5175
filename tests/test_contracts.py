"""What every shipped model configuration has to keep; a new file in configs/model/ is found by itself."""

import shutil
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import Callback

import daezoo
from conftest import ALL_MODELS, CONFIGS, FAMILIES, MODELS, build, fit_arguments
from daezoo.checkpoint import AtomicCheckpointIO
from daezoo.cli import main
from daezoo.models import DenoisingAutoencoder
from daezoo.randomness import StepNoise

ALL_DATA = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
OFFLINE_DATA = ("digits", "images", "shapes")
# a stacked model's epochs follow from its phases
SHORT = {"stacked": ("--model.epochs_per_layer", "1", "--model.end_to_end_epochs", "1")}

# what keeps codes from holding one batch is not to be tested
FREE = {"variational": {"beta": 0.01}}


def trainer(folder: Path, **options: object) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    plugins = [AtomicCheckpointIO()]
    options = {"accelerator": "cpu", "enable_checkpointing": False, "plugins": plugins, **quiet, **options}
    return L.Trainer(default_root_dir=folder, **options)


@pytest.mark.parametrize(
    ("data", "model"),
    [
        # of relatives of a model the data that is quickest, and all of it in the slow tests
        pytest.param(data, model, marks=() if data == "digits" or model in FAMILIES else pytest.mark.slow)
        for data in OFFLINE_DATA
        for model in MODELS
    ],
)
def test_every_pair_of_configurations_runs_through_the_command_line(daezoo_command, workplace, model, data):
    sizes = ("--data.train", "256", "--data.valid", "64", "--data.test", "64")
    small = (*sizes, "--data.kind", "rectangles") if data == "shapes" else ()
    status, _, err = daezoo_command(*fit_arguments(model, data, *small, "--trainer.fast_dev_run", "true"))
    assert status == 0, err
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("data", "models"),
    [("digits", ALL_MODELS)]
    + [(data, MODELS[-1:]) for data in ALL_DATA if data != "digits"]
    + [pytest.param(data, ALL_MODELS, marks=pytest.mark.slow) for data in ALL_DATA if data != "digits"],
)
def test_every_pair_of_configurations_parses(daezoo_command, data, models):
    for model in models:
        status, out, err = daezoo_command(*fit_arguments(model, data, "--data.batch_size", "7", "--print_config"))
        assert status == 0, err
        config = yaml.safe_load(out)
        assert config["data"]["init_args"]["batch_size"] == 7
        # what the model's file says of the corruption has reached the data
        wanted = yaml.safe_load((CONFIGS / "model" / f"{model}.yaml").read_text())["data"]["init_args"]["corruption"]
        assert config["data"]["init_args"]["corruption"] == wanted


@pytest.mark.parametrize("model", MODELS)
def test_overfits_one_batch(model):
    torch.manual_seed(0)
    network, data = build(model, **FREE.get(model, {}))
    batch = next(data.evaluation_batches("train"))
    optimizer = network.configure_optimizers()
    # a quarter of the noise or, without any, of what the mean sample leaves
    noise = (batch.noisy - batch.clean).square().mean()
    target = 0.25 * (noise if noise > 0 else batch.clean.var(0, correction=0).mean())
    for step in range(1000):
        optimizer.zero_grad()
        sum(network.loss_terms(batch._replace(noise=StepNoise(0, step))).values()).backward()
        optimizer.step()
        if step % 10 == 0 and (network.denoise(batch.noisy, batch.level) - batch.clean).square().mean() < target:
            return
    pytest.fail("1000 steps did not bring the error on one batch below a quarter of what it was")


@pytest.mark.parametrize("model", ALL_MODELS)
def test_reloads_with_equal_outputs(model, tmp_path):
    network, data = build(model)
    fit = trainer(tmp_path, max_steps=2, max_epochs=network.total_epochs if hasattr(network, "total_epochs") else 1)
    fit.fit(network, data)
    path = tmp_path / "last.ckpt"
    fit.save_checkpoint(path, weights_only=False)
    batch = next(data.evaluation_batches("test"))
    noisy, level = batch.noisy, batch.level
    network.eval()
    for loaded in (daezoo.load(path), type(network).load_from_checkpoint(path, weights_only=True).eval()):
        assert type(loaded) is type(network)
        assert torch.equal(loaded.denoise(noisy, level), network.denoise(noisy, level))
        assert torch.equal(loaded.encode(batch.clean), network.encode(batch.clean))
        assert loaded.denoise(noisy, level).shape == noisy.shape
        assert loaded.encode(batch.clean).ndim == 2


class Gradients(Callback):
    """Which parameters have gradients, epoch by epoch."""

    def __init__(self) -> None:
        self.epochs: dict[int, set[str]] = {}

    def on_after_backward(self, trainer, pl_module):
        names = {name for name, parameter in pl_module.named_parameters() if parameter.grad is not None}
        self.epochs.setdefault(trainer.current_epoch, names)
        assert self.epochs[trainer.current_epoch] == names


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_gets_a_gradient_and_exactly_the_active_layers_if_stacked(model, tmp_path):
    phases = {"epochs_per_layer": 1, "end_to_end_epochs": 1} if model == "stacked" else {}
    network, data = build(model, **phases)
    recorded = Gradients()
    epochs = getattr(network, "total_epochs", 1)
    trainer(tmp_path, max_epochs=epochs, limit_train_batches=3, limit_val_batches=1, callbacks=[recorded]).fit(
        network, data
    )
    everything = {name for name, _ in network.named_parameters()}
    expected = {0: everything}
    if model == "stacked":
        layers = {k: {name for name in everything if name.startswith(f"network.layers.{k}.")} for k in range(3)}
        assert all(layers.values())
        expected = {**layers, 3: everything}
    assert recorded.epochs == expected


class Killed(Exception):
    """Stands for a kill: training ends here and nothing more is written."""


def resume_arguments(model: str) -> list[str]:
    """9 batches an epoch, a checkpoint every 4 and at an epoch's end."""
    short = SHORT.get(model, ("--trainer.max_epochs", "2"))
    few = ("--trainer.limit_train_batches", "9", "--trainer.limit_val_batches", "2", "--trainer.log_every_n_steps", "2")
    return fit_arguments(model, "digits", *short, *few, "--checkpoint_every_n_steps", "4", "--name", "run")


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory) -> dict[str, Path]:
    """The uninterrupted run of each model."""
    folder = tmp_path_factory.mktemp("whole")
    for model in MODELS:
        assert main([*resume_arguments(model), "--runs", str(folder)]) == 0
    return {model: folder / f"{model}-digits" / "run" for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "step", [pytest.param(2, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow), 15]
)  # before any checkpoint, at an epoch's end, within the second
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    daezoo_command, workplace, monkeypatch, whole_runs, model, step
):
    start = DenoisingAutoencoder.on_train_batch_start

    def killed(self, batch, batch_idx):
        if self.trainer.global_step == step:
            raise Killed
        start(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingAutoencoder, "on_train_batch_start", killed)
        with pytest.raises(RuntimeError, match="daezoo fit --resume"):
            daezoo_command(*resume_arguments(model))
    whole, resumed = whole_runs[model], Path("runs") / f"{model}-digits" / "run"
    assert not (resumed / "summary.json").exists()
    status, out, err = daezoo_command("fit", "--resume", str(resumed))
    assert status == 0, err
    assert "Resuming" in out
    expected, got = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (whole, resumed))
    assert expected["global_step"] == got["global_step"] > step
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, got["state_dict"][name]), name
    for old, new in zip(expected["optimizer_states"], got["optimizer_states"], strict=True):
        for key, state in old["state"].items():
            assert all(torch.equal(value, new["state"][key][name]) for name, value in state.items())
    assert (resumed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    status, out, _ = daezoo_command("fit", "--resume", str(resumed))
    assert status == 0
    assert "is finished" in out


def test_a_checkpoint_of_another_class_or_of_more_epochs_is_not_resumed(daezoo_command, workplace, whole_runs):
    for model in ("vanilla", "conv"):
        shutil.copytree(whole_runs[model], model)
    config = Path("vanilla/config.yaml").read_text()
    status, _, err = daezoo_command("fit", "--resume", "vanilla", "--trainer.max_epochs", "1")
    assert status == 2
    assert "last.ckpt has 2 epochs already, more than max_epochs 1" in err
    contents = torch.load("vanilla/checkpoints/last.ckpt", weights_only=True)
    contents["state_dict"]["network.layers.0.bias"] = torch.zeros(3)
    torch.save(contents, "vanilla/checkpoints/last.ckpt")
    status, _, err = daezoo_command("fit", "--resume", "vanilla", "--trainer.max_epochs", "3")
    assert status == 2
    assert "does not fit the model of vanilla/config.yaml, in network.layers.0.bias" in err
    shutil.copy("conv/checkpoints/last.ckpt", "vanilla/checkpoints/last.ckpt")
    status, _, err = daezoo_command("fit", "--resume", "vanilla", "--trainer.max_epochs", "3")
    assert status == 2
    assert "last.ckpt is of class ConvDAE, but this run trains a VanillaDAE" in err
    assert Path("vanilla/config.yaml").read_text() == config
