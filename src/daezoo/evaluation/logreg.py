"""Multinomial logistic regression by L-BFGS, and nearest neighbours: classifiers that judge features."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

CHUNK = 2048
"""Rows taken at a time: their features stay in the processor's cache between the two products that need them."""

Features = Float[Tensor, "samples features"]
Labels = Int[Tensor, "samples"]


class Linear(NamedTuple):
    """A linear classifier.

    Attributes:
        weight: (features, classes), float64.
        bias: (classes,), float64.
        loss: Its objective on what it was fitted to.
    """

    weight: Tensor
    bias: Tensor
    loss: float

    def predict(self, features: Features) -> Labels:
        """The most probable class of each sample, (samples,)."""
        weight = self.weight.to(features.device)
        scores = [part.double() @ weight + self.bias.to(features.device) for part in features.split(CHUNK)]
        return torch.cat(scores).argmax(1)


def logistic_regression(
    features: Features,
    labels: Labels,
    classes: int,
    strength: float,
    start: Linear | None = None,
    tolerance: float = 1e-9,
    covariance: Tensor | None = None,
) -> Linear:
    """The minimum over W, b of 1/N Σ −log softmax(Wᵀx + b)_y + λ/2 ‖W‖², by L-BFGS.

    The bias is not penalised. Parameters, softmax and sums over samples are float64; the products with the features are
    float32, in an order that only the number of threads decides: with the same number a CPU gives the same digits every
    time. scikit-learn's C is 1 / (λ N), for three classes or more.

    L-BFGS sees V, W = L⁻ᵀ V, L Lᵀ = c XᵀX / N + λ I, c = (K − 1) / K²: in V the Hessian's blocks for each class are the
    identity where all classes are equally probable. Correlated features then need many times fewer evaluations.

    Args:
        features: (N, D) float32; standardised, or L-BFGS is slow.
        labels: (N,) int64 in 0..classes - 1.
        classes: Number of classes.
        strength: λ > 0.
        start: Where to start from; zero if None.
        tolerance: It ends with the step that lowers the objective by less; what is left is then some ten times as much.
        covariance: XᵀX / N, (D, D) float64, or that of similar features; it changes the way to the minimum alone.
            Computed if None.
    """
    (samples, width), device = features.shape, features.device
    target = torch.nn.functional.one_hot(labels, classes).double()
    curvature = (classes - 1) / classes**2 * (second_moment(features) if covariance is None else covariance)
    # a little more than λ, because the products were rounded
    curvature.diagonal().add_(strength + 1e-6 * float(curvature.diagonal().mean()))
    factor = torch.linalg.cholesky(curvature)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).view(width + 1, classes).to(device)
        weight, bias = torch.linalg.solve_triangular(factor.mT, parameters[:-1], upper=True), parameters[-1]
        # a multiple of 16 columns: half again as fast as 10
        padded = torch.zeros(width, -(-classes // 16) * 16, device=device)
        padded[:, :classes] = weight
        loss = torch.zeros((), dtype=torch.float64, device=device)
        slope = torch.zeros(classes, width, dtype=torch.float64, device=device)
        slope_bias = torch.zeros(classes, dtype=torch.float64, device=device)
        for part, wanted in zip(features.split(CHUNK), target.split(CHUNK), strict=True):
            logs = ((part @ padded)[:, :classes].double() + bias).log_softmax(1)
            loss -= (logs * wanted).sum()
            excess = logs.exp_().sub_(wanted)
            slope += excess.float().mT @ part
            slope_bias += excess.sum(0)
        value = loss / samples + strength / 2 * weight.square().sum()
        slope_weight = torch.linalg.solve_triangular(factor, slope.mT / samples + strength * weight, upper=False)
        gradient = torch.cat([slope_weight, slope_bias[None] / samples])
        return value.item(), gradient.cpu().numpy().ravel()

    zero = torch.zeros(width + 1, classes, dtype=torch.float64)
    first = zero if start is None else torch.cat([factor.mT @ start.weight, start.bias[None]]).cpu()
    options = {"maxiter": 1000, "maxcor": 20, "ftol": tolerance, "gtol": 1e-6}
    # SciPy's own threads would wait, spinning, where torch's want to work
    with threadpool_limits(1, user_api="blas"):
        found = minimize(objective, first.numpy().ravel(), jac=True, method="L-BFGS-B", options=options)
    parameters = torch.from_numpy(found.x).view(width + 1, classes).to(device)
    weight = torch.linalg.solve_triangular(factor.mT, parameters[:-1], upper=True)
    return Linear(weight, parameters[-1], float(found.fun))


def second_moment(features: Features) -> Tensor:
    """XᵀX / N, (D, D) float64, of products in float32."""
    return sum((part.mT @ part).double() for part in features.split(CHUNK)) / len(features)


def nearest_neighbours(features: Features, labels: Labels, queries: Features, k: int) -> Labels:
    """The class most frequent among the k samples of largest cosine similarity; of several, the smallest.

    Args:
        features: What is searched, (N, D).
        labels: (N,) int64, >= 0.
        queries: What is to be classified, (M, D).
        k: Neighbours that vote, in [1, N].
    """
    normed = torch.nn.functional.normalize(features, dim=1)
    votes = []
    for part in queries.split(CHUNK):
        nearest = (torch.nn.functional.normalize(part, dim=1) @ normed.mT).topk(k, dim=1).indices
        votes.append(torch.nn.functional.one_hot(labels[nearest], int(labels.max()) + 1).sum(1).argmax(1))
    return torch.cat(votes)
