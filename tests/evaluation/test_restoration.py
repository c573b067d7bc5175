import json

import pytest
import torch

from conftest import build, fit_arguments
from daezoo.architectures import ConvStack
from daezoo.corruption import Clean, Gaussian
from daezoo.evaluation.restoration import evaluate


def test_errors_and_baselines_equal_those_worked_out_sample_by_sample():
    model, data = build("residual", network=ConvStack(4, 2))
    torch.nn.init.normal_(model.network.last.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    batches = list(data.evaluation_batches("test", Gaussian(0.3)))
    mean = data.splits["train"].mean()
    got = evaluate(model.train(), batches, mean)
    assert model.training
    clean, noisy = (torch.cat([getattr(batch, name) for batch in batches]).double() for name in ("clean", "noisy"))
    denoised = model.denoise(noisy.float()).double()
    mse = {"mse": (denoised - clean), "mse_noisy_input": noisy - clean, "mse_train_mean": mean - clean}
    for name, error in mse.items():
        assert got[name] == pytest.approx(error.square().mean().item(), rel=1e-5)
    for name, error in (("psnr", denoised - clean), ("psnr_noisy_input", noisy - clean)):
        each = -10 * error.square().flatten(1).mean(1).log10()
        assert got[name] == pytest.approx(each.mean().item(), rel=1e-5)
    assert clean.shape == (360, 1, 8, 8)


def test_the_numbers_do_not_depend_on_the_batch_size():
    model, data = build("vanilla")
    data.setup()
    numbers = []
    for data.batch_size in (16, 7):
        numbers.append(evaluate(model, data.evaluation_batches("test"), data.splits["train"].mean()))
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)


@pytest.fixture
def run(daezoo_command):
    status, _, err = daezoo_command(
        *fit_arguments(
            "stacked",
            "digits",
            "--model.epochs_per_layer",
            "1",
            "--model.end_to_end_epochs",
            "0",
            "--model.hidden",
            "[8,8,8]",
        )
    )
    assert status == 0, err
    return "runs/stacked-digits/1"


def test_evaluate_gives_the_summarys_numbers_from_a_run_or_a_checkpoint(daezoo_command, workplace, run):
    summary = json.loads((workplace / run / "summary.json").read_text())
    assert summary["model"] == "stacked"
    assert summary["data"] == "digits"
    assert summary["epochs"] == 3
    assert summary["steps"] == 3 * 39
    assert summary["samples_per_second"] > 0
    for target in (run, f"{run}/checkpoints/last.ckpt"):
        status, out, err = daezoo_command("evaluate", target, "--json")
        assert status == 0, err
        got = json.loads(out)
        assert {name: got[name] for name in summary["test"]} == pytest.approx(summary["test"], rel=1e-6)
        assert got["corruption"] == "Gaussian(sigma=0.5)"
        assert "protocol" in got


def test_evaluate_takes_another_corruption_and_level(daezoo_command, run):
    noise = {}
    for options in ((), ("--level", "0.25")):
        noise[options] = json.loads(daezoo_command("evaluate", run, "--json", *options)[1])["mse_noisy_input"]
    # half the standard deviation, a quarter of the error; the noise of a sample is the same but for its scale
    assert noise["--level", "0.25"] == pytest.approx(noise[()] / 4, rel=1e-3)
    out = daezoo_command("evaluate", run, "--json", "--corruption", "Gaussian", "--level", "0.2")[1]
    assert json.loads(out)["corruption"] == "Gaussian(sigma=0.2)"
    assert json.loads(out)["mse_noisy_input"] == pytest.approx(0.04, rel=0.05)
    assert "noisy input as it is" in daezoo_command("evaluate", run)[1]


def test_a_psnr_that_is_infinite_is_null_in_json(daezoo_command, run):
    got = json.loads(daezoo_command("evaluate", run, "--json", "--corruption", "Clean")[1])
    assert got["mse_noisy_input"] == 0
    assert got["psnr_noisy_input"] is None
    assert str(Clean()) == got["corruption"]
