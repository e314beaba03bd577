"""The bounds of useful strengths, against loops over neighbours and against the ranks."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import rank_strengths
from tests.keras_s2l.ranking import cases
from tests.layer_checks import MODES, run

each_regularization = pytest.mark.parametrize("regularization", ["l2", "kl"])


def _bounds(row, regularization):
    """Least and greatest ratio of the gaps of neighbours and those of their (log) ranks."""
    row = sorted(row)
    ratios = []
    for rank in range(1, len(row)):
        gap = 0.0 if row[rank] == row[rank - 1] else row[rank] - row[rank - 1]
        ratios.append(gap / (1 if regularization == "l2" else math.log((rank + 1) / rank)))
    return min(ratios, default=math.inf), max(ratios, default=0.0)


def test_example_of_the_docstring():
    bounds = rank_strengths(np.array([5.0, 1.0, 2.0]))
    assert (bounds.hard.numpy(), bounds.pooled.numpy()) == (1.0, 3.0)


@each_regularization
@pytest.mark.parametrize("mode", MODES)
def test_matches_reference(mode, regularization):
    scores = cases.scores_of(9)
    scores[1, 3], scores[2, 2], scores[3] = np.inf, scores[2, 7], 1.0
    bounds = run(lambda x: tf.stack(rank_strengths(x, regularization), axis=1), scores, mode)
    truth = [_bounds(row, regularization) for row in scores]
    np.testing.assert_allclose(bounds, truth, rtol=1e-12)


@each_regularization
def test_absent_slots_take_no_part(regularization):
    mask, scores = cases.mask_and_scores()
    bounds = np.stack(rank_strengths(scores, regularization, mask=mask), axis=1)
    truth = [_bounds(row[real], regularization) for row, real in zip(scores, mask)]
    np.testing.assert_allclose(bounds, truth, rtol=1e-12)


def test_any_axis():
    scores = np.random.RandomState(0).randn(7, 9, 2)
    for axis in (0, 1, -1):
        bounds = rank_strengths(scores, axis=axis)
        truth = np.apply_along_axis(lambda row: _bounds(row, "l2"), axis, scores)
        np.testing.assert_allclose(bounds.hard, np.take(truth, 0, axis), rtol=1e-12)
        np.testing.assert_allclose(bounds.pooled, np.take(truth, 1, axis), rtol=1e-12)


def test_a_row_with_a_nan_has_no_bounds():
    scores = cases.scores_of(9).astype("float32")
    scores[1, 2] = np.nan
    for bounds in rank_strengths(scores):
        assert bounds.dtype == tf.float32
        np.testing.assert_array_equal(np.isnan(bounds), np.arange(7) == 1)


@pytest.mark.parametrize("shape", [(1,), (7, 1)])
def test_one_score_is_always_hard_and_always_one_block(shape):
    hard, pooled = rank_strengths(np.zeros(shape))
    np.testing.assert_array_equal(hard, np.full(shape[:-1], np.inf))
    np.testing.assert_array_equal(pooled, np.zeros(shape[:-1]))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_rows_of_less_than_two_are_soft_nowhere(n, regularization):
    bounds = rank_strengths(np.zeros((3, n), "float32"), regularization)
    np.testing.assert_array_equal(bounds.hard, [np.inf] * 3)
    np.testing.assert_array_equal(bounds.pooled, [0.0] * 3)
