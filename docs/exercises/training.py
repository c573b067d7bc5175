"""What the exercises that train a model share."""

import lightning as L

from daezoo.data import DenoisingDataModule
from daezoo.models import DenoisingAutoencoder
from daezoo.quiet import quieten


def trained(model: DenoisingAutoencoder, data: DenoisingDataModule, steps: int) -> DenoisingAutoencoder:
    """The model after so many steps on the CPU, in eval mode; nothing is written."""
    quieten()
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model.train(), data)
    return model.eval()
