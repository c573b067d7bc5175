"""Support vector machines on pixels and on codes, by scikit-learn on kernel matrices: one for each γ."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.svm import SVC
from torch import Tensor

from daezoo.evaluation.probe import Part, interval

AT_ONCE = 2_000
"""Test samples that are predicted at a time."""
HELD = 10_000
"""Samples whose kernel matrix is held in memory, at the most: 0.8 GB."""
KERNELS: dict[str, Sequence[tuple[float, float]]] = {
    "linear": [(0.0, c) for c in (0.1, 1.0, 10.0, 100.0)],
    "rbf": [(gamma, c) for gamma in (0.5, 1.0, 2.0, 4.0) for c in (1.0, 10.0, 100.0)],
}
"""For each kernel the grid of (γ, C). Samples are centred and scaled to a mean square norm of 1, so γ = 1 is
scikit-learn's `scale`."""

Array = NDArray[np.float32]


def _kernel(name: str, gamma: float) -> Callable[[Array, Array], Array]:
    return linear_kernel if name == "linear" else lambda a, b: rbf_kernel(a, b, gamma=gamma)


def _fitted(kernel: str, gamma: float, c: float, samples: Array, labels: NDArray[Any]) -> Callable[[Array], Any]:
    """What a machine fitted to samples predicts: on their kernel matrix, which is far faster, unless it is huge."""
    if len(samples) > HELD:
        whole = SVC(C=c, kernel=kernel, gamma=gamma or 1.0, cache_size=2000).fit(samples, labels)
        predict: Callable[[Array], Any] = whole.predict
        return predict
    measure = _kernel(kernel, gamma)
    machine = SVC(C=c, kernel="precomputed", cache_size=1000).fit(measure(samples, samples), labels)
    return lambda part: machine.predict(measure(part, samples))


def support_vectors(kernel: str, train: Part, valid: Part, test: Part, largest: int = 10_000) -> dict[str, Any]:
    """A support vector machine, one against one, its γ and C picked on the validation split.

    Both are picked by fits to the first `largest` training samples at most; what is measured, once, is a fit to all.

    Args:
        kernel: linear, or rbf: exp(−γ‖a − b‖²).
        train: Features (N, D) and labels.
        valid: Likewise.
        test: Likewise.
        largest: How many; their kernel matrix is held in memory.

    Returns:
        `valid_error` and test `error` in [0, 1], `low` and `high` of its 95 % interval, `gamma`, `C`, `test` samples.
    """
    mean = train.features.mean(0)
    scale = (train.features - mean).square().sum(1).mean().sqrt().clamp_min(1e-12)

    def scaled(features: Tensor) -> Array:
        return ((features - mean) / scale).numpy()

    held, labels = scaled(train.features), train.labels.numpy()
    some, some_labels = held[:largest], labels[:largest]
    found: list[tuple[float, float, float]] = []
    for gamma in dict.fromkeys(gamma for gamma, _ in KERNELS[kernel]):
        measure = _kernel(kernel, gamma)
        gram, against = measure(some, some), measure(scaled(valid.features), some)
        for c in (c for one, c in KERNELS[kernel] if one == gamma):
            machine = SVC(C=c, kernel="precomputed", cache_size=1000).fit(gram, some_labels)
            found.append((float(np.mean(machine.predict(against) != valid.labels.numpy())), gamma, c))
    _, gamma, c = min(found)
    predict = _fitted(kernel, gamma, c, held, labels)
    error = float(np.mean(predict(scaled(valid.features)) != valid.labels.numpy()))
    wrong = sum(
        int((predict(scaled(features)) != of.numpy()).sum())
        for features, of in zip(test.features.split(AT_ONCE), test.labels.split(AT_ONCE), strict=True)
    )
    count = len(test.labels)
    low, high = interval(wrong, count)
    names = {"valid_error": error, "error": wrong / count, "low": low, "high": high}
    return {**names, "gamma": gamma, "C": c, "test": count}
