"""Perturbed ranks against pairwise loops over SciPy's normal law, and against sampling."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_s2l import perturbed_rank
from tests import references
from tests.keras_s2l.ranking.cases import HOSTILE_ROWS, gradient_of
from tests.layer_checks import MODES, run


def test_example_of_the_docstring():
    ranks = perturbed_rank(np.array([[5.0, 1.0, 2.0]]), sigma=1.0)
    np.testing.assert_allclose(ranks, [[1.98, 0.24, 0.78]], atol=5e-3)


def test_is_the_mean_rank_of_noisy_scores():
    scores, sigma, draws = np.array([5.0, 1.0, 2.0, 1.5, 4.0]), 1.3, 40000
    noise = np.random.RandomState(0).randn(draws, 5)
    ranks = stats.rankdata(scores + sigma * noise, axis=1) - 1
    standard_error = ranks.std(axis=0) / np.sqrt(draws)
    deviation = np.abs(perturbed_rank(scores[None], sigma).numpy()[0] - ranks.mean(axis=0))
    assert (deviation < 4 * standard_error).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype, half_a_step", [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_is_computed_in_float32(dtype, half_a_step, mode):
    half = tf.cast(np.random.RandomState(0).randn(5, 20), dtype)
    ranks = run(perturbed_rank, half, mode)
    assert ranks.dtype == dtype
    truth = [references.perturbed_rank(row, 1.0) for row in tf.cast(half, "float64").numpy()]
    np.testing.assert_allclose(tf.cast(ranks, "float64"), truth, rtol=half_a_step, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_hostile_rows_match_reference(row, mode):
    scores = np.array([row], "float32")
    with np.errstate(over="ignore"):
        truth = references.perturbed_rank(scores[0], 1.0)
    np.testing.assert_allclose(run(perturbed_rank, scores, mode), [truth], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [2, 9])
@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_gradient_matches_finite_differences(sigma, num_patches, mode):
    scores = tf.constant(np.random.RandomState(1).randn(3, num_patches))
    op = functools.partial(perturbed_rank, sigma=sigma)
    if mode != "eager":
        op = tf.function(op, jit_compile=mode == "xla")
    exact, numeric = tf.test.compute_gradient(op, [scores], delta=1e-5)
    assert np.abs(numeric[0]).max() > 1e-3
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-7)


def test_second_derivative_matches_finite_differences():
    upstream = np.random.RandomState(2).randn(1, 5)
    scores = tf.constant(np.random.RandomState(1).randn(1, 5))
    first = functools.partial(gradient_of, perturbed_rank, upstream=upstream)
    exact, numeric = tf.test.compute_gradient(first, [scores], delta=1e-5)
    assert np.abs(numeric[0]).max() > 1e-3
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-7)


@pytest.mark.parametrize("sigma", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("row", HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_gradient_is_finite(row, sigma):
    op = functools.partial(perturbed_rank, sigma=sigma)
    gradient = gradient_of(op, tf.constant([row]), np.array([[1.0, -2.0, 3.0, 0.5]]))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("sigma", [0, -1.0, float("inf"), float("nan"), True, "1", None])
def test_a_bad_sigma_is_refused(sigma):
    with pytest.raises(ValueError, match=r"`sigma` must be a positive.*Received: sigma="):
        perturbed_rank(np.zeros((1, 2)), sigma)
