"""Reconstruction error of a denoiser, beside the two that make it meaningful."""

from collections.abc import Iterable

import torch
from torch import Tensor

from daezoo.batch import Batch
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder

PROTOCOL = (
    "mse: mean over samples and observed elements, data in [0, 1], tables as they are encoded; psnr: dB, data range 1, "
    "mean over samples; reconstructions neither clipped nor quantised"
)


@torch.inference_mode()
@exact_float32()
def evaluate(model: DenoisingAutoencoder, batches: Iterable[Batch], train_mean: Tensor) -> dict[str, float]:
    """Reconstruction error on noisy batches, on the model's device and in float32.

    Args:
        model: The denoiser; evaluated in eval mode, and left in the mode it was in.
        batches: Noisy batches, each sample once, on any device.
        train_mean: The mean training sample, (*dims).

    Returns:
        `mse` and `psnr` of the reconstruction, `mse_noisy_input` and `psnr_noisy_input` of leaving the input as it is,
        `mse_train_mean` of predicting the training mean for every sample. See PROTOCOL.
    """
    training = model.training
    model.eval()
    columns: list[Tensor] = []
    for batch in batches:
        batch = Batch._make(part.to(model.device) if isinstance(part, Tensor) else part for part in batch)
        guesses = model.denoise(batch.noisy, batch.level), batch.noisy, train_mean.to(model.device)
        errors = [batch.squared_error(guess).flatten(1).mean(1) for guess in guesses]
        columns.append(torch.stack([*errors, *(-10 * error.log10() for error in errors[:2])]).double())
    model.train(training)
    names = ("mse", "mse_noisy_input", "mse_train_mean", "psnr", "psnr_noisy_input")
    return dict(zip(names, torch.cat(columns, 1).mean(1).tolist(), strict=True))
