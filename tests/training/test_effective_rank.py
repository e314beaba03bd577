"""Directions are counted as by hand, whatever their scale."""

import numpy as np
import pytest
from scipy import stats

from training.effective_rank import effective_rank


def independent(examples, dimensions, seed=0):
    """Features of mean 0 that have nothing to do with each other."""
    noise = np.random.default_rng(seed).normal(size=(examples, dimensions))
    return np.linalg.qr(noise - noise.mean(axis=0))[0]


@pytest.mark.parametrize("dimensions", [1, 2, 7, 30])
def test_independent_features_of_any_scale_count_each(dimensions):
    features = independent(100, dimensions) * np.arange(1, dimensions + 1)
    assert effective_rank(features) == pytest.approx(dimensions)


def test_copies_of_features_count_once():
    features = independent(100, 3)
    assert effective_rank(np.tile(features, (1, 5))) == pytest.approx(3)
    assert effective_rank(features[:, :1] * [1.0, -2.0, 5.0] + 4.0) == pytest.approx(1)


def test_it_is_the_exponential_of_the_entropy_of_singular_values():
    random = np.random.default_rng(1)
    features = random.normal(size=(200, 12)) @ random.normal(size=(12, 12))
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    eigenvalues = np.linalg.eigvalsh(scaled.T @ scaled)
    expected = np.exp(stats.entropy(np.sqrt(eigenvalues)))
    assert effective_rank(features.astype("float32")) == pytest.approx(expected, rel=1e-4)


def test_embeddings_that_are_all_the_same_have_none():
    assert effective_rank(np.full((10, 4), 3.0, "float32")) == 0.0


def test_of_many_examples_in_order_of_their_class_all_classes_count():
    """Ten classes of 1000, each of which alone has two directions."""
    random = np.random.default_rng(2)
    features = np.zeros((10, 1000, 20))
    for number, of_class in enumerate(features):
        of_class[:, 2 * number : 2 * number + 2] = random.normal(size=(1000, 2))
    assert effective_rank(features[0]) == pytest.approx(2, abs=0.1)
    features = features.reshape(10_000, 20)
    assert effective_rank(features) == pytest.approx(20, abs=0.5)
    assert effective_rank(features) == effective_rank(features)


def test_a_thousand_examples_are_looked_at():
    features = np.random.default_rng(3).normal(size=(3000, 1200))
    singular = np.linalg.svd(features, compute_uv=False)
    assert effective_rank(features) < 1000 < np.exp(stats.entropy(singular))
