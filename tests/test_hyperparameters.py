import json
from pathlib import Path

import pytest
import torch

from daezoo.architectures import ConvStack
from daezoo.checkpoint import rebuild
from daezoo.corruption import Compose, Gaussian, Masking, OneOf
from daezoo.hyperparameters import plain
from daezoo.losses import Charbonnier, Contractive, CrossEntropy, KLSparsity, L1Sparsity
from daezoo.models import ConvDAE, DenoisingAutoencoder, ResidualDAE, StackedDAE, VanillaDAE
from daezoo.optim import SGD, AdamW
from daezoo.schedule import Uniform

BUILDERS = {
    "conv": lambda: ConvDAE([1, 8, 8], (4, 8), code=3, loss=CrossEntropy(2.0, 0.5), optimizer=AdamW(0.02, 0.1)),
    "residual": lambda: ResidualDAE((1, 8, 8), ConvStack(4, 3), channels_last=False, loss=Charbonnier(epsilon=0.1)),
    "stacked": lambda: StackedDAE(
        torch.Size([1, 8, 8]),
        hidden=(6, 5, 4),
        epochs_per_layer=2,
        end_to_end_epochs=1,
        code_corruption=[Gaussian(Uniform(0.1, 0.3)), OneOf([Masking(0.5), Compose(Masking(), Gaussian(0.1))])],
        penalties=[KLSparsity(0.1, target=0.2)],
    ),
    "vanilla": lambda: VanillaDAE(
        (64,),
        hidden=[5],
        activation="relu",
        tied=False,
        penalties=(L1Sparsity(0.5), Contractive(0.25, directions=2)),
        optimizer=SGD(0.5, momentum=0.9),
    ),
    "defaults": lambda: VanillaDAE((4,)),
}


def test_plain_describes_dataclasses_as_a_configuration_file_does():
    value = {"choices": (Gaussian(Uniform(0.1, 0.3)), [Masking(0.5), None]), "name": "x", "on": True}
    uniform = {"class_path": "daezoo.schedule.Uniform", "init_args": {"low": 0.1, "high": 0.3}}
    expected = {
        "choices": [
            {"class_path": "daezoo.corruption.Gaussian", "init_args": {"sigma": uniform}},
            [{"class_path": "daezoo.corruption.Masking", "init_args": {"ratio": 0.5}}, None],
        ],
        "name": "x",
        "on": True,
    }
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value))) == expected
    assert plain(expected) == expected


@pytest.mark.parametrize("name", BUILDERS)
def test_models_built_in_python_keep_json_that_builds_them_again(name):
    torch.manual_seed(0)
    model = BUILDERS[name]()
    text = json.dumps(dict(model.hparams))
    kept = json.loads(text)
    assert kept == dict(model.hparams) == dict(model.hparams_initial)

    again = rebuild(Path("a.ckpt"), json.loads(text), DenoisingAutoencoder)

    assert type(again) is type(model)
    assert dict(again.hparams) == kept
    assert again.shape == model.shape
    assert (again.loss, again.penalties, again.optimizer) == (model.loss, model.penalties, model.optimizer)
    assert getattr(again, "code_corruption", None) == getattr(model, "code_corruption", None)
    again.load_state_dict(model.state_dict(), strict=True)
    noisy = torch.rand(2, *model.shape)
    assert torch.equal(again.denoise(noisy), model.denoise(noisy))
