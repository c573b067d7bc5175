"""`daezoo reproduce matrix`: every model, corruption, loss and precision train, or are refused with a reason."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import torch

from daezoo import corruption as noises
from daezoo import losses, models
from daezoo.architectures import ConvStack, UNet
from daezoo.corruption import Corruption
from daezoo.data import DigitsData
from daezoo.files import write_text
from daezoo.likelihoods import Categorical, FixedGaussian, LearnedGaussian
from daezoo.losses import ReconstructionLoss
from daezoo.models import DenoisingAutoencoder
from daezoo.parser import Parser
from daezoo.quiet import quieten
from daezoo.studies.cells import add_row, rows_of
from daezoo.studies.markdown import Rows, of, table

STEPS = 5
MODELS: dict[str, Callable[..., DenoisingAutoencoder]] = {
    "VanillaDAE": lambda **loss: models.VanillaDAE(hidden=[16], tied=False, **loss),
    "StackedDAE": lambda **loss: models.StackedDAE(hidden=[16] * 3, epochs_per_layer=1, end_to_end_epochs=2, **loss),
    "ConvDAE": lambda **loss: models.ConvDAE(channels=[4, 8], code=8, **loss),
    "ResidualDAE": lambda **loss: models.ResidualDAE(network=ConvStack(4, 3), **loss),
    "PreconditionedDAE": lambda **loss: models.PreconditionedDAE(network=UNet([4, 8], 1), **loss),
    "VariationalDAE": lambda **loss: models.VariationalDAE(hidden=[16], code=4, **loss),
    "AdversarialDAE": lambda **loss: models.AdversarialDAE(hidden=[16], code=4, discriminator=[8], **loss),
    "HierarchicalDAE": lambda **loss: models.HierarchicalDAE(hidden=[16, 8], **loss),
}
CORRUPTIONS: dict[str, Corruption] = {
    type(one).__name__: one
    for one in (
        noises.Clean(),
        noises.Gaussian(),
        noises.Masking(),
        noises.SaltAndPepper(),
        noises.GaussianMasking(),
        noises.BlockMasking(),
        noises.Scratches(),
        noises.Poisson(),
        noises.Speckle(),
        noises.Blur(),
        noises.JPEG(),
        noises.SwapNoise(),
        noises.Recorded(),
        noises.Compose(noises.Blur(), noises.Gaussian(0.1)),
        noises.OneOf([noises.Masking(), noises.Gaussian()]),
    )
}
LOSSES: dict[str, ReconstructionLoss] = {
    type(one).__name__: one
    for one in (
        losses.SquaredError(),
        losses.AbsoluteError(),
        losses.Charbonnier(),
        losses.CrossEntropy(),
        FixedGaussian(),
        LearnedGaussian(),
        Categorical(),
    )
}
PRECISIONS = ("32-true", "bf16-mixed")
INTRODUCTION = f"""# What goes with what

Rendered by `daezoo reproduce matrix` from `docs/studies/matrix.csv`, not typed: {{count:,}} cases. Each model was built
for digits of 8 x 8 and trained for {STEPS} steps, in `32-true` and in `bf16-mixed`: yes, if loss and weights stayed
finite and the weights changed. Or it was refused before that, for the reason of that number.
"""


def attempt(model: str, corruption: str, loss: str, precision: Any) -> str:
    """Train a case for STEPS steps.

    Args:
        model: Of MODELS.
        corruption: Of CORRUPTIONS.
        loss: Of LOSSES.
        precision: Of PRECISIONS.

    Returns:
        Why it is refused; nothing if it trains.

    Raises:
        RuntimeError: If it is not refused, and does not train either.
    """
    torch.manual_seed(0)
    data = DigitsData(corruption=CORRUPTIONS[corruption], batch_size=32)
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=STEPS,
        limit_train_batches=1,  # so that a stack meets all its phases
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    try:
        network = MODELS[model](shape=[1, 8, 8], loss=LOSSES[loss])
        network.check_trainer(trainer)
        network.check_corruption(data.corruption)
        data.setup("fit")
        network.check_batch(next(data.evaluation_batches("train")))
    except ValueError as error:
        return str(error)
    before = torch.cat([parameter.detach().flatten().clone() for parameter in network.parameters()])
    trainer.fit(network, data)
    after = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    trained = trainer.global_step == STEPS and after.isfinite().all() and not torch.equal(before, after)
    if not (trained and trainer.callback_metrics["train/loss"].isfinite()):
        raise RuntimeError(f"{model} under {corruption}, {loss} and {precision} neither trains nor is refused.")
    return ""


def rendered(rows: Rows) -> str:
    """The text of docs/matrix.md."""
    reasons = list(dict.fromkeys(row["refused"] for row in rows if row["refused"]))

    def cell(found: Rows) -> str:
        said = list(dict.fromkeys(row["refused"] for row in found))
        return ", ".join(f"no ({reasons.index(one) + 1})" if one else "yes" for one in said)

    parts = [INTRODUCTION.format(count=len(rows))]
    for model in MODELS:
        lines = [
            [corruption, *(cell(of(rows, model=model, corruption=corruption, loss=loss)) for loss in LOSSES)]
            for corruption in CORRUPTIONS
        ]
        parts.append(f"## {model}\n\n" + table(["corruption", *LOSSES], lines))
    numbered = "".join(f"{number}. {reason}\n" for number, reason in enumerate(reasons, 1))
    return "\n".join([*parts, f"## Reasons\n\n{numbered}"])


def run(args: list[str]) -> None:
    """Try what is not tried yet, and render the table.

    Args:
        args: The command line, without the command and the study.
    """
    parser = Parser(prog="daezoo reproduce matrix", description="Every model x corruption x loss x precision.")
    parser.add_argument("--only", type=str, default="", help="Only cases whose names, with spaces, contain this.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/matrix.csv and matrix.md go.")
    options = parser.parse_args(args)
    quieten()
    path = Path(options.docs) / "studies" / "matrix.csv"
    done = {tuple(list(row.values())[:4]) for row in rows_of(path)}
    for case in product(MODELS, CORRUPTIONS, LOSSES, PRECISIONS):
        if case not in done and options.only in " ".join(case):
            key = dict(zip(("model", "corruption", "loss", "precision"), case, strict=True))
            add_row(path, {**key, "refused": attempt(*case)}, key)
    written = Path(options.docs) / "matrix.md"
    write_text(written, rendered(rows_of(path)))
    print(written)
