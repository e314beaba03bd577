"""Pooled blocks against SciPy's pool-adjacent-violators and, for "kl", slow pooling."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l.ranking import isotonic
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import MODES, run


def _pool(y):
    y = tf.convert_to_tensor(y)
    return isotonic.pool(isotonic.Rows(y, tf.zeros_like(y), "l2"))


def _starts(blocks):
    """The place of the first entry of the block of each entry."""
    return np.searchsorted(blocks, blocks, side="left")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 9, 40])
def test_l2_levels_and_starts_match_scipy(n, mode):
    y = cases.scores_of(n) - np.linspace(0, 2, n)
    levels = run(lambda y: _pool(y)[0], y, mode)
    starts = run(lambda y: _pool(y)[1], y, mode)
    assert levels.dtype == tf.float64 and starts.dtype == tf.int32
    truth = [references.pooled(row) for row in y]
    np.testing.assert_allclose(levels, [values for values, _ in truth], atol=1e-12)
    np.testing.assert_array_equal(starts, [_starts(blocks) for _, blocks in truth])


@pytest.mark.parametrize("n", [2, 9, 40])
def test_l2_rows_are_numerators_less_denominators(n):
    numerators, denominators = tf.constant(cases.scores_of(n)), tf.constant(cases.scores_of(n, 1))
    levels, _ = isotonic.pool(isotonic.Rows(numerators, denominators, "l2"))
    truth = [references.pooled(row)[0] for row in (numerators - denominators).numpy()]
    np.testing.assert_allclose(levels, truth, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_kl_levels_and_starts_match_slow_pooling(spread, n):
    scores = -np.sort(-spread * cases.scores_of(n))
    targets = np.tile(np.log(np.arange(n, 0, -1.0)), (7, 1))
    levels, starts = isotonic.pool(isotonic.Rows(tf.constant(scores), tf.constant(targets), "kl"))
    for row, row_levels, row_starts in zip(scores, levels.numpy(), starts.numpy()):
        ranks, blocks = references.pooled_ranks(row, 1.0, "kl")
        np.testing.assert_allclose(row_levels, row - np.log(ranks + 1), atol=1e-9)
        truth = np.concatenate([np.full(len(block), min(block)) for block in blocks])
        np.testing.assert_array_equal(row_starts, truth)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.integers(-8, 8), min_size=9, max_size=9))
def test_ties_still_give_the_nearest_non_increasing_vector(row):
    levels, starts = (x.numpy()[0] for x in _pool(np.array([row], "float64")))
    np.testing.assert_allclose(levels, references.pooled(row)[0], atol=1e-12)
    assert (np.diff(levels) <= 1e-12).all()
    assert starts[0] == 0 and (np.diff(starts) >= 0).all() and (starts <= np.arange(9)).all()
    means = [np.mean(np.array(row)[starts == start]) for start in starts]
    np.testing.assert_allclose(levels, means, atol=1e-12)


@pytest.mark.parametrize(
    "row, truth",
    [
        ([4.0, 3.0, 2.0, 1.0], [0, 1, 2, 3]),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0]),
        ([5.0, 1.0, 2.0, 0.0], [0, 1, 1, 3]),
        ([0.0, 6.0, 1.0, 3.0], [0, 0, 2, 2]),
    ],
)
def test_blocks_end_only_where_the_means_fall(row, truth):
    _, starts = _pool(np.array([row]))
    np.testing.assert_array_equal(starts, [truth])
