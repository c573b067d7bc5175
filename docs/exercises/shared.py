"""What the exercises share: their two options, and a Lightning trainer that keeps quiet and leaves nothing behind."""

import argparse
from pathlib import Path
from typing import TypeVar

import lightning as L

from daezoo.data import DenoisingDataModule
from daezoo.models import DenoisingAutoencoder
from daezoo.quiet import quieten

Model = TypeVar("Model", bound=DenoisingAutoencoder)


def options_of(exercise: str, picture: str, args: list[str] | None) -> argparse.Namespace:
    """The options `quick` and `out` of a command line, or of the process's own."""
    parser = argparse.ArgumentParser(description=exercise)
    parser.add_argument("--quick", action="store_true", help="A few seconds only, for numbers that mean little.")
    parser.add_argument("--out", type=Path, default=Path(picture), help="Where the figure goes.")
    return parser.parse_args(args)


def fitted(model: Model, data: DenoisingDataModule, epochs: int = -1, steps: int = -1) -> Model:
    """The model, trained for so many epochs or steps, in eval mode."""
    quieten()
    trainer = L.Trainer(
        max_epochs=epochs,
        max_steps=steps,
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module deals samples out itself
    )
    trainer.fit(model.train(), data)
    return model.eval()
