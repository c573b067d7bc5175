"""Pretrained encoders as scikit-learn transformers."""

from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from daezoo import tabular
from daezoo.checkpoint import load_model
from daezoo.hardware import exact_float32
from daezoo.imputing import columns_of
from daezoo.models import DenoisingAutoencoder
from daezoo.zoo.loading import open_target


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The codes of a pretrained denoising autoencoder, h = f(x), as features for a Pipeline.

    Nothing is trained: `fit` loads the model and checks that it fits the samples. A model of a table takes tables
    in their own units: pandas or polars frames with its columns, or arrays with these in order; NaN is missing.

    Args:
        name: As for `daezoo.load`: a zoo name, a run folder or a checkpoint.
        source: Likewise.
        device: Where codes are computed.
        batch_size: Samples at a time, >= 1.

    Attributes:
        model_: The model, in eval mode.
        columns_: What it knows of a table's columns; None if it was not trained on a table.
        n_features_in_: Values of a sample.

    Raises:
        ValueError: From `fit` and `transform`: if there is no such model, samples are not of its shape or scale, or
            batch_size < 1.

    Example:
        make_pipeline(Encoder("vanilla.digits-mask25"), LogisticRegression()).fit(images / 16, labels)
    """

    def __init__(
        self,
        name: str = "vanilla.digits-mask25",
        *,
        source: str | None = None,
        device: str = "cpu",
        batch_size: int = 512,
    ) -> None:
        self.name = name
        self.source = source
        self.device = device
        self.batch_size = batch_size

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Load the model.

        Args:
            X: Samples in [0, 1], (N, *shape), or flattened, (N, D); or the rows of a table.
            y: Ignored.
        """
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
        path, checkpoint = self._open()
        self.columns_ = columns_of(path, checkpoint)
        flat = self._validated(X, reset=True)
        model = self._load(path, checkpoint, flat.shape[1])
        if prod(model.shape) != flat.shape[1]:
            raise ValueError(
                f"{self.name} takes samples of shape {model.shape}, {prod(model.shape)} values each; X has "
                f"{flat.shape[1]} features."
            )
        samples = self._samples(flat, model)
        model.check_values(samples)
        with torch.inference_mode():
            self._n_features_out = model.encode(samples[:1]).shape[1]
        self.model_ = model
        return self

    @torch.inference_mode()
    @exact_float32()
    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """The codes of samples as in `fit`, (N, code)."""
        check_is_fitted(self)
        flat = self._validated(X, reset=False)
        parts = np.split(flat, range(self.batch_size, len(flat), self.batch_size))
        codes = [self.model_.encode(self._samples(part, self.model_)).float().cpu() for part in parts]
        return torch.cat(codes).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _open(self) -> tuple[Path, dict[str, Any]]:
        return open_target(self.name, self.source)

    def _load(self, path: Path, checkpoint: dict[str, Any], width: int) -> DenoisingAutoencoder:
        return load_model(path, checkpoint).to(self.device)

    def _validated(self, X: Any, reset: bool) -> NDArray[np.float32]:
        if self.columns_ is None:
            flat: NDArray[np.float32] = validate_data(self, _flattened(X), dtype=np.float32, reset=reset)
            return flat
        frame = X.to_pandas() if hasattr(X, "to_pandas") else X
        if not hasattr(frame, "columns"):
            names = [column.name for column in self.columns_]
            if np.shape(frame)[1:] != (len(names),):
                raise ValueError(
                    f"{self.name} takes tables of {len(names)} columns; X has the shape {np.shape(frame)}."
                )
            frame = tabular.pandas().DataFrame(frame, columns=names)
        validate_data(self, frame, skip_check_array=True, reset=reset)
        return tabular.encode(self.columns_, frame)[0].numpy()

    @staticmethod
    def _samples(flat: NDArray[np.float32], model: DenoisingAutoencoder) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(flat)).view(len(flat), *model.shape).to(model.device)


def _flattened(X: Any) -> Any:
    """Samples with more than two dimensions as rows; the rest is scikit-learn's to judge."""
    if getattr(X, "ndim", 2) <= 2:
        return X
    return X.reshape(len(X), -1)
