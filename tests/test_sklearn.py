from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import daezoo
from daezoo.models import VanillaDAE
from daezoo.sklearn import Encoder


class AnyWidth(Encoder):
    """An encoder that fits whatever samples scikit-learn's checks bring; a pretrained one has a width of its own."""

    def _open(self):
        return Path(), {}

    def _load(self, path, checkpoint, width):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return VanillaDAE([width], hidden=[3]).eval()


@parametrize_with_checks([AnyWidth()])
def test_common_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def test_codes_are_those_of_the_model(digits):
    encoder = Encoder("vanilla.digits-mask25", batch_size=100)
    codes = encoder.fit_transform(digits[0])
    images = torch.from_numpy(digits[0]).float().view(-1, 1, 8, 8)
    with torch.inference_mode():
        expected = daezoo.load("vanilla.digits-mask25").encode(images).numpy()
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    np.testing.assert_array_equal(encoder.transform(images), codes)  # not flattened
    assert encoder.get_feature_names_out()[[0, -1]].tolist() == ["encoder0", "encoder999"]


def test_in_a_pipeline(digits):
    pipeline = make_pipeline(Encoder(), LogisticRegression(C=0.1, max_iter=500))
    images, labels = digits
    pipeline.fit(images[:1200], labels[:1200])
    raw = LogisticRegression(C=0.1, max_iter=500).fit(images[:1200], labels[:1200])
    assert pipeline.score(images[1200:], labels[1200:]) > raw.score(images[1200:], labels[1200:])


def test_samples_that_do_not_fit(digits):
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), 64 values each; X has 10 features"):
        Encoder().fit(digits[0][:, :10])
    with pytest.raises(ValueError, match=r"\[0, 1\].*from 0 to 16"):
        Encoder().fit(digits[0] * 16)
    with pytest.raises(ValueError, match="no pretrained model"):
        Encoder("vanilla.absent").fit(digits[0])
    with pytest.raises(ValueError, match="batch_size"):
        Encoder(batch_size=0).fit(digits[0])
