"""Pooled blocks against SciPy's pool-adjacent-violators."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l.ranking import isotonic
from tests import references
from tests.layer_checks import MODES, run


def _regression(y):
    return isotonic.block_mean(y, isotonic.pooled_blocks(y))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_entries", [1, 2, 9, 32])
def test_blocks_match_scipy(num_entries, mode):
    y = np.random.RandomState(0).randn(9, num_entries) - np.linspace(0, 2, num_entries)
    blocks = np.array([references.pooled(row)[1] for row in y])
    truth = blocks[:, :, None] == blocks[:, None, :]
    np.testing.assert_array_equal(run(isotonic.pooled_blocks, y, mode), truth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
def test_block_means_of_y_are_its_isotonic_regression(dtype, tolerance, mode):
    y = np.random.RandomState(1).randn(9, 12).astype(dtype)
    fast = run(_regression, y, mode)
    assert fast.dtype == dtype
    np.testing.assert_allclose(fast, [references.pooled(row)[0] for row in y], atol=tolerance)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=10))
def test_ties_still_give_the_nearest_non_increasing_vector(row):
    y = np.array([row], "float64")
    fitted = _regression(y).numpy()[0]
    assert (np.diff(fitted) <= 1e-12).all()
    np.testing.assert_allclose(fitted, references.pooled(row)[0], atol=1e-12)


@pytest.mark.parametrize(
    "row, blocks",
    [
        ([3.0, 2.0, 1.0], [0, 1, 2]),
        ([1.0, 2.0, 3.0], [0, 0, 0]),
        ([2.0, 2.0, 2.0], [0, 0, 0]),
        ([5.0, 1.0, 2.0, 0.0], [0, 1, 1, 2]),
    ],
)
def test_blocks_end_only_where_the_means_fall(row, blocks):
    truth = np.equal.outer(blocks, blocks)
    np.testing.assert_array_equal(isotonic.pooled_blocks(np.array([row]))[0], truth)


def test_block_mean_averages_other_values_too():
    values = np.random.RandomState(2).randn(2, 5)
    blocks = np.array([[0, 0, 1, 2, 2], [0, 1, 1, 1, 1]])
    truth = [
        [row[row_blocks == block].mean() for block in row_blocks]
        for row, row_blocks in zip(values, blocks)
    ]
    means = isotonic.block_mean(values, blocks[:, :, None] == blocks[:, None, :])
    np.testing.assert_allclose(means, truth, atol=1e-12)
