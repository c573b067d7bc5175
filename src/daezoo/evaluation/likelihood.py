"""The likelihood of test samples under a model of random codes."""

from math import sqrt
from typing import Any

import torch

from daezoo.corruption import Clean
from daezoo.data.base import DenoisingDataModule
from daezoo.hardware import exact_float32
from daezoo.likelihoods import bits_per_dimension
from daezoo.models import DenoisingAutoencoder, VariationalDAE
from daezoo.report import say

PROTOCOL = (
    "iw-nll-v1: −log ¹⁄ₖ Σ p(x | h) p(h) / q(h | x) over k = {codes:,} codes h ~ q(h | x) of each clean test sample, "
    "in nats, mean over samples; {kind} of values as the model takes them; the bound has k = 1; float32, {loss}"
)


@torch.inference_mode()
@exact_float32()
def estimate(model: DenoisingAutoencoder, data: DenoisingDataModule, codes: int) -> dict[str, Any]:
    """The importance-weighted negative log-likelihood of the clean test split, and the evidence lower bound.

    Args:
        model: In eval mode.
        data: Set up.
        codes: Drawn for each sample, >= 1; each sample's are its own, whatever the batch.

    Returns:
        `nll` and `bound` in nats, `nll_bits` and `bound_bits` in bits per dimension, `standard_error` of nll over
        samples, `codes`, `samples` and `protocol`.

    Raises:
        ValueError: If the model has no likelihood, its loss is none of this data, or values are missing.
    """
    if not isinstance(model, VariationalDAE):
        raise ValueError(
            f"A {type(model).__name__} has no distribution q(h | x) of codes to estimate a likelihood from. Train a "
            "VariationalDAE."
        )
    found, bounds = [], []
    for batch in data.evaluation_batches("test", Clean()):
        if batch.observed is not None:
            raise ValueError(
                f"A likelihood is of whole samples, and {type(data).__name__} has missing values in some. Leave such "
                "samples out, or fill them in: daezoo impute."
            )
        x = batch.clean.to(model.device)
        found.append(model.log_likelihood(x, codes, batch.noise).double().cpu())
        bounds.append(model.log_likelihood(x, 1, batch.noise).double().cpu())
        say(f"{sum(map(len, found)):,} samples, {-torch.cat(found).mean():.2f} nats")
    nll, bound = -torch.cat(found), -torch.cat(bounds)
    dimensions = batch.clean[0].numel()
    result = {"nll": nll.mean().item(), "bound": bound.mean().item()}
    discrete = type(model.loss).__name__ in ("CrossEntropy", "Categorical")
    said = PROTOCOL.format(codes=codes, kind="probability" if discrete else "density", loss=model.loss)
    return {
        **result,
        **{f"{name}_bits": bits_per_dimension(value, dimensions) for name, value in result.items()},
        "standard_error": nll.std().item() / sqrt(len(nll)) if len(nll) > 1 else 0.0,
        "codes": codes,
        "samples": len(nll),
        "protocol": said,
    }
