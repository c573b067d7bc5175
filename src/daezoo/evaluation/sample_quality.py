"""How good samples are: Parzen windows, Fréchet distance, and the nearest training samples.

None of these numbers says by itself that samples are good: look at them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from daezoo.densities import GaussianMixture
from daezoo.models import DenoisingAutoencoder
from daezoo.models.base import pooled

PROTOCOL = (
    "parzen-v1: mean log-density in nats of up to 10,000 test samples under Gaussian windows around samples, of the "
    "width under which 1,000 validation samples are likeliest; biased downwards, and kind to blur. frechet: of the "
    "judge's codes, to up to 10,000 test samples. confidence: mean of its largest class probability. nearest: mean "
    "distance of 1,000 samples, or of validation samples, to the nearest training sample. Samples are clipped to [0, 1]"
)
SIGMAS = tuple(10 ** (-1.5 + k / 12) for k in range(16))
"""Widths of Parzen windows to choose from, 0.03 to 0.56 in data units."""
CHOSEN_BY = 1000
"""Validation samples that the width is chosen by."""
CHUNK = 500


class Parzen(NamedTuple):
    """A log-likelihood by Parzen windows.

    Attributes:
        nats: Mean log-density of test samples.
        standard_error: Of the mean.
        sigma: The width that was chosen.
    """

    nats: float
    standard_error: float
    sigma: float


def parzen(samples: Tensor, valid: Tensor, test: Tensor) -> Parzen:
    """Log-density of test samples under windows around samples, 1/N Σᵢ N(x; sampleᵢ, σ² I), as in Bengio et al. (2013).

    σ is the one of SIGMAS under which the first CHOSEN_BY validation samples are likeliest. The estimate is biased
    downwards, grows with the number of samples, and favours blurred ones: compare it only where that number and the
    choice of σ are the same, as in the protocol parzen-v1.

    Args:
        samples: (N, *dims), data units.
        valid: Validation samples, (M, *dims).
        test: Test samples, (M', *dims).
    """
    windows = GaussianMixture(torch.ones(len(samples)), samples.flatten(1), torch.zeros(len(samples)))

    def nats(points: Tensor, sigma: float) -> Tensor:
        return torch.cat([windows.log_prob(part, sigma) for part in points.flatten(1).split(CHUNK)])

    sigma = max(SIGMAS, key=lambda width: nats(valid[:CHOSEN_BY], width).mean().item())
    found = nats(test, sigma)
    return Parzen(found.mean().item(), found.std().item() / len(found) ** 0.5, sigma)


class Features(nn.Module):
    """The code of an encoder, feature maps pooled as for a probe, as torchmetrics wants an extractor.

    Args:
        model: The encoder.
        width: Of its code.
    """

    def __init__(self, model: DenoisingAutoencoder, width: int) -> None:
        super().__init__()
        self.model, self.num_features = model, width

    def forward(self, images: Tensor) -> Tensor:
        """Codes (batch, width)."""
        return pooled(self.model.encode(images)).flatten(1)


@torch.inference_mode()
def frechet(samples: Tensor, reference: Tensor, encoder: DenoisingAutoencoder) -> float:
    """Fréchet distance of codes, ‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½) (Heusel et al., 2017), by torchmetrics.

    It depends on the encoder and, biased upwards for few, on how many samples there are.

    Args:
        samples: (N, *shape), data units, N >= 2.
        reference: Real samples, (M, *shape), M >= 2.
        encoder: Whose codes are compared.
    """
    width = pooled(encoder.encode(reference[:1])).numel()
    metric = FrechetInceptionDistance(Features(encoder, width), normalize=True)
    for images, real in ((reference, True), (samples, False)):
        for part in images.split(CHUNK):
            metric.update(part, real=real)
    return metric.compute().item()


@torch.inference_mode()
def confidence(samples: Tensor, classifier: DenoisingAutoencoder) -> float:
    """The mean over samples of a classifier's largest class probability."""
    return torch.cat([classifier.classify(part).softmax(1).amax(1) for part in samples.split(CHUNK)]).mean().item()


def nearest(samples: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest training sample of each, by Euclidean distance: distances and places, (N,).

    Args:
        samples: (N, *dims).
        training: (M, *dims).
    """
    best = torch.full((len(samples),), torch.inf)
    place = torch.zeros(len(samples), dtype=torch.int64)
    for start in range(0, len(training), 10_000):
        part = training[start : start + 10_000].flatten(1)
        distance, found = torch.cdist(samples.flatten(1), part).min(1)
        place = torch.where(distance < best, start + found, place)
        best = best.minimum(distance)
    # cdist is off by a thousandth where samples are equal
    return (samples - training[place]).flatten(1).norm(dim=1), place
