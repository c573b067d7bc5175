"""Reconstruction error of a denoiser, beside the two that make it meaningful."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from daezoo.batch import Batch
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder

PROTOCOL = (
    "mse: mean over samples and elements, data in [0, 1]; psnr: dB, data range 1, mean over samples; "
    "reconstructions neither clipped nor quantised"
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
        clean, noisy = batch.clean.to(model.device), batch.noisy.to(model.device)
        guesses = model.denoise(noisy, batch.level.to(model.device)), noisy, train_mean.to(model.device)
        errors = [(guess - clean).square().flatten(1).mean(1) for guess in guesses]
        columns.append(torch.stack([*errors, *(_psnr(guess, clean) for guess in guesses[:2])]).double())
    model.train(training)
    names = ("mse", "mse_noisy_input", "mse_train_mean", "psnr", "psnr_noisy_input")
    return dict(zip(names, torch.cat(columns, 1).mean(1).tolist(), strict=True))


def _psnr(guess: Tensor, clean: Tensor) -> Tensor:
    dims = tuple(range(1, clean.ndim))
    return peak_signal_noise_ratio(guess, clean, data_range=1.0, reduction="none", dim=dims).view(-1)
