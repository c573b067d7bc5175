"""Anomalies: how well a model that never saw some classes tells their samples from those it knows."""

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_roc

from daezoo.corruption import Clean
from daezoo.data.splits import rows_at_once, spread
from daezoo.evaluation.features import classes_of, extract
from daezoo.evaluation.target import Target
from daezoo.hardware import exact_float32
from daezoo.models import DenoisingAutoencoder

DRAWS = 8
"""Draws of noise over which a sample's error is averaged."""
REFERENCES = 10_000
"""Training samples from which distances are measured, evenly spread, at the most."""
NEIGHBOURS = 5
VARIANCE = 0.9
PROTOCOL = (
    "anomaly-v1: anomalies are the positives; nothing is fitted or chosen but on normal training samples. "
    f"Reconstruction: mean squared error, of clean samples or over {DRAWS} draws of noise; distances, of up to "
    f"{REFERENCES:,} training samples: Mahalanobis, covariance by Ledoit and Wolf, and kNN, mean Euclidean of the "
    f"{NEIGHBOURS} nearest; PCA: as few components as hold {VARIANCE:.0%} of the variance; AP: average precision; FPR: "
    "normal samples that are taken for anomalies where 95 % of the anomalies are"
)
OF_MODEL = {
    "clean": "reconstruction, clean",
    "noisy": "reconstruction, noisy",
    "codes_mahalanobis": "codes, Mahalanobis",
    "codes_knn": "codes, kNN",
    "untrained_mahalanobis": "untrained codes, Mahalanobis",
    "untrained_knn": "untrained codes, kNN",
}
OF_SAMPLES = {
    "pixels_mahalanobis": "pixels, Mahalanobis",
    "pixels_knn": "pixels, kNN",
    "pca": "PCA reconstruction",
    "forest": "isolation forest",
}
SCORES = OF_MODEL | OF_SAMPLES
"""What scores are, in words; those of the samples themselves are the same for every model."""
METRICS = ("auroc", "average_precision", "fpr95")


def metrics(scores: Tensor, anomalous: Tensor) -> dict[str, float]:
    """How well scores tell anomalies from the rest: threshold-free, so that their scale does not matter.

    Args:
        scores: (N,), larger for what looks more anomalous.
        anomalous: bool (N,), with both values.

    Returns:
        `auroc`; `average_precision`, whose chance level is the share of anomalies; `fpr95`, the smallest share of
        normal samples at or above a threshold that 95 % of the anomalies, or more, are at or above.
    """
    # torchmetrics takes scores outside [0, 1] for logits, and its sigmoid would make large ones equal
    ranks = scores.unique(return_inverse=True)[1].double() / len(scores)
    truth = anomalous.long()
    false, true, _ = binary_roc(ranks, truth)
    return {
        "auroc": float(binary_auroc(ranks, truth)),
        "average_precision": float(binary_average_precision(ranks, truth)),
        "fpr95": float(false[true >= 0.95].min()),
    }


def errors(target: Target) -> dict[str, Tensor]:
    """The squared reconstruction error of every test sample, mean over observed elements, `clean` and `noisy`; (N,)."""
    model, data = target.model, target.data
    test, found = data.splits["test"], []
    for rows in torch.arange(len(test)).split(rows_at_once(test[0].clean.numel(), 512)):
        samples = test.__getitems__(rows)
        batches = [
            data.evaluation_batch(samples, "test", Clean()),
            *(data.evaluation_batch(samples, "test", stream=f"draw {number}") for number in range(DRAWS)),
        ]
        outputs = [model.denoise(one.noisy.to(model.device), one.level.to(model.device)).cpu() for one in batches]
        squares = [one.squared_error(output) for one, output in zip(batches, outputs, strict=True)]
        found.append(torch.stack([square.flatten(1).mean(1) for square in squares]))
    clean_error, *noisy_errors = torch.cat(found, 1).unbind()
    return {"clean": clean_error, "noisy": torch.stack(noisy_errors).mean(0)}


def distances(train: Tensor, test: Tensor) -> dict[str, Tensor]:
    """The distances of test samples from training samples, `mahalanobis`, squared, and `knn`; (M,) each.

    Args:
        train: (N, D).
        test: (M, D).
    """
    references = train[spread(len(train), REFERENCES).to(train.device)]
    nearest = [
        torch.cdist(part, references).topk(min(NEIGHBOURS, len(references)), largest=False).values.mean(1)
        for part in test.split(1024)
    ]
    fitted = LedoitWolf().fit(references.double().cpu().numpy())
    squared = fitted.mahalanobis(test.double().cpu().numpy())
    return {"mahalanobis": torch.from_numpy(squared), "knn": torch.cat(nearest).cpu()}


@torch.inference_mode()
@exact_float32()
def judge(target: Target, anomalous: Sequence[int] | None = None) -> dict[str, Any]:
    """Score the test samples, and see how well each score finds the anomalies.

    Args:
        target: The model and the data.
        anomalous: Labels of the anomalies; those that the training split does not have, if None. What is neither
            anomalous nor in the training split is left out.

    Returns:
        `scores`, for each of SCORES the `metrics`; `normal` and `anomalous` labels; `seen`, those of the anomalies that
        the model was trained on, None if that is not known, because it was trained on other data.

    Raises:
        ValueError: If samples have no labels, there are no anomalies or no normal samples, or a reconstruction is not
            finite.
    """
    model, data = target.model, target.data
    labels = {name: classes_of(data.splits[name]) for name in ("train", "test")}
    known, tested = (set(labels[name].tolist()) for name in ("train", "test"))
    wanted = tested - known if anomalous is None else set(anomalous)
    normal = known - wanted
    if not wanted:
        raise ValueError(
            f"The training split of {type(data).__name__} has all classes of its test split, so none is an anomaly. "
            "Leave one out in training, by daezoo fit --data.classes, or say which it is, by --anomalous."
        )
    if not wanted <= tested or not normal & tested:
        raise ValueError(
            f"The anomalous classes must be some of those of the test split, {sorted(tested)}, and leave one that the "
            f"training split has, {sorted(known)}; got {sorted(wanted)}."
        )
    normals = torch.isin(labels["train"], torch.tensor(sorted(normal)))
    truth, judged = (torch.isin(labels["test"], torch.tensor(sorted(kept))) for kept in (wanted, wanted | normal))

    def samples(encoder: DenoisingAutoencoder | None) -> tuple[Tensor, Tensor]:
        train, test = (extract(encoder, data.splits[name], model.device)[-1] for name in ("train", "test"))
        return train[normals.to(train.device)], test

    scores = errors(target)
    if not all(found.isfinite().all() for found in scores.values()):
        raise ValueError(f"The reconstructions of {target.name} are not all finite: its training went wrong.")
    for name, encoder in {"codes": model, "untrained": target.untrained(), "pixels": None}.items():
        scores |= {f"{name}_{kind}": found for kind, found in distances(*samples(encoder)).items()}
    train, test = (part.cpu().numpy() for part in samples(None))
    pca = PCA(VARIANCE, svd_solver="full").fit(train)
    scores["pca"] = torch.from_numpy(((pca.inverse_transform(pca.transform(test)) - test) ** 2).mean(1))
    scores["forest"] = -torch.from_numpy(IsolationForest(random_state=0).fit(train).score_samples(test))
    same = target.trained.get("_class_path", "").rpartition(".")[2] == type(data).__name__
    same &= all(target.trained.get(name) == data.hparams.get(name) for name in ("path", "kind"))
    trained = target.trained.get("classes")
    saw = known if trained == data.hparams["classes"] else set(trained or wanted)
    return {
        "target": target.name,
        "step": target.step,
        "model": type(model).__name__,
        "data": type(data).__name__,
        "protocol": PROTOCOL.partition(":")[0],
        "corruption": str(data.evaluation_corruption),
        "normal": sorted(normal),
        "anomalous": sorted(wanted),
        "seen": sorted(wanted & saw) if same else None,
        "samples": {"train": len(train), "normal": int((judged & ~truth).sum()), "anomalous": int(truth.sum())},
        "components": int(pca.n_components_),
        "scores": {name: metrics(scores[name][judged], truth[judged]) for name in SCORES},
    }
