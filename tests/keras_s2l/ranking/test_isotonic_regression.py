"""Isotonic regression against SciPy's, and its gradient against finite differences."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from keras_s2l import isotonic_regression
from tests.keras_s2l.ranking import cases
from tests.layer_checks import run

each_direction = pytest.mark.parametrize("increasing", [True, False])


def _truth(row, increasing=True):
    return optimize.isotonic_regression(row, increasing=increasing).x


def test_example_of_the_docstring():
    np.testing.assert_allclose(isotonic_regression(np.array([1.0, 3.0, 2.0])), [1.0, 2.5, 2.5])


@each_direction
@pytest.mark.parametrize("n", [1, 2, 9, 40, pytest.param(300, marks=pytest.mark.slow)])
def test_matches_scipy(n, increasing):
    noise = cases.scores_of(n)
    steps = np.arange(7)[:, None] * np.linspace(-1, 1, n)  # From one block to almost none.
    for values in (noise, noise + 3 * steps, np.round(noise), np.abs(noise).cumsum(axis=1)):
        fast = isotonic_regression(values, increasing=increasing)
        assert fast.dtype == tf.float64
        np.testing.assert_allclose(fast, [_truth(row, increasing) for row in values], atol=1e-9)


@pytest.mark.parametrize("n", [9, 40])
def test_matches_scipy_in_float32(n):
    noise = cases.scores_of(n).astype("float32")
    for values in (noise, noise * np.float32(1e30), noise + np.float32(1e6)):
        truth = [_truth(row.astype("float64")) for row in values]
        atol = 1e-6 * np.abs(values).max()
        np.testing.assert_allclose(isotonic_regression(values), truth, atol=atol)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("n", [9, 40])
def test_matches_scipy_inside_a_function_where_the_batch_is_unknown(n, mode):
    values = cases.scores_of(n)
    fast = run(isotonic_regression, values, mode)
    np.testing.assert_allclose(fast, [_truth(row) for row in values], atol=1e-9)


@each_direction
@pytest.mark.parametrize("shape, axis", [((9,), 0), ((9, 7), 0), ((7, 9, 1), -2)])
def test_any_axis(shape, axis, increasing):
    values = np.random.RandomState(0).randn(*shape)
    truth = np.apply_along_axis(_truth, axis, values, increasing)
    np.testing.assert_allclose(isotonic_regression(values, axis, increasing), truth, atol=1e-9)


@each_direction
@pytest.mark.parametrize("n", [2, 9, 40])
def test_gradient_matches_finite_differences(n, increasing):
    values, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    op = functools.partial(isotonic_regression, increasing=increasing)
    exact = cases.gradient_of(op, values, upstream)
    np.testing.assert_allclose(exact, cases.finite_differences(op, values, upstream), atol=1e-6)


@pytest.mark.parametrize("n", [3, 9, 40])
def test_levels_that_lie_close_beside_their_size_are_blocks_of_their_own(n):
    falling = (1000 - 0.003 * np.arange(n, dtype="float32"))[None]
    upstream = np.arange(1, n + 1, dtype="float32")[None]
    op = functools.partial(isotonic_regression, increasing=False)
    np.testing.assert_array_equal(op(falling), falling)
    np.testing.assert_array_equal(cases.gradient_of(op, falling, upstream), upstream)
    pooled = falling.copy()
    pooled[0, 0] = falling[0, 1] - 0.002  # Below the next: these two alone are one block.
    expected = upstream.copy()
    expected[0, :2] = expected[0, :2].mean()
    np.testing.assert_allclose(cases.gradient_of(op, pooled, upstream), expected, rtol=1e-6)


def test_a_row_with_a_nan_is_all_nan_and_leaves_the_others_alone():
    values = cases.scores_of(9)
    truth = np.array([_truth(row) for row in values])
    values[1, 2] = truth[1] = np.nan
    np.testing.assert_allclose(isotonic_regression(values), truth, atol=1e-9)


def test_the_length_may_be_unknown_inside_a_function():
    signature = [tf.TensorSpec([None, None], tf.float64)]
    unknown = tf.function(isotonic_regression, input_signature=signature)
    for n in (1, 9, 40):
        truth = [_truth(row) for row in cases.scores_of(n)]
        np.testing.assert_allclose(unknown(cases.scores_of(n)), truth, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    half = tf.cast(cases.scores_of(9), dtype)
    fast = isotonic_regression(half)
    assert fast.dtype == dtype
    truth = np.array([_truth(row) for row in tf.cast(half, "float64").numpy()])
    np.testing.assert_allclose(tf.cast(fast, "float64"), truth, rtol=2**-8, atol=1e-6)


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"`values` must be.*Received: values of dtype"):
        isotonic_regression([[3, 1, 2]])


@pytest.mark.parametrize("axis", [1, -2, None])
def test_a_bad_axis_is_refused(axis):
    with pytest.raises(ValueError, match="`axis` must be"):
        isotonic_regression(np.zeros(3), axis=axis)


@pytest.mark.parametrize("increasing", ["yes", None, 2])
def test_a_bad_direction_is_refused(increasing):
    with pytest.raises(ValueError, match=r"`increasing` must be one of.*Received: increasing="):
        isotonic_regression(np.zeros(3), increasing=increasing)
