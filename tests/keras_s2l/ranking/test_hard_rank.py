"""Hard ranks against counting loops and SciPy's ordinal ranks."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keras_s2l import hard_rank
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import MODES, run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_matches_reference(n, mode):
    scores = cases.scores_of(n)
    ranks = run(hard_rank, scores, mode)
    assert ranks.dtype == tf.int32
    np.testing.assert_array_equal(ranks, [references.hard_rank(row) for row in scores])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [2, 9, 40])
def test_ties_are_ranked_as_they_stand(n, mode):
    scores = np.random.RandomState(1).randint(0, 3, (7, n)).astype("float32")
    scores[0] = 5.0
    scores[1] = np.where(np.arange(n) % 2, 0.0, -0.0)
    truth = stats.rankdata(scores, method="ordinal", axis=1) - 1
    np.testing.assert_array_equal(run(hard_rank, scores, mode), truth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_each_floating_dtype_gives_int32(dtype, mode):
    ranks = run(hard_rank, tf.constant([[5.0, 1.0, 2.0]], dtype), mode)
    assert ranks.dtype == tf.int32
    np.testing.assert_array_equal(ranks, [[2, 0, 1]])


@pytest.mark.parametrize("mode", MODES)
def test_hostile_rows_match_reference(mode):
    scores = cases.hostile_rows(9)
    truth = [references.hard_rank(row) for row in scores]
    np.testing.assert_array_equal(run(hard_rank, scores, mode), truth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("absent", [np.nan, np.inf, -np.inf])
def test_absent_slots_take_no_part_also_beside_infinite_ones(absent, mode):
    mask, scores = cases.mask_and_scores(absent)
    random = np.random.RandomState(1)
    scores = np.where(mask & (random.rand(7, 9) < 0.3), np.inf, scores)
    scores = np.where(mask & (random.rand(7, 9) < 0.3), -np.inf, scores)
    truth = cases.row_by_row(references.hard_rank, mask, scores)
    ranks = run(lambda x: hard_rank(x, mask=tf.constant(mask)), scores, mode)
    np.testing.assert_array_equal(ranks, truth)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_descending_along_any_axis(axis):
    scores = np.random.RandomState(0).randint(0, 5, (7, 9, 2)) / 1.0
    truth = np.apply_along_axis(lambda row: references.hard_rank(-row), axis, scores)
    np.testing.assert_array_equal(hard_rank(scores, "descending", axis), truth)


def test_a_row_with_a_nan_has_no_ranks_and_leaves_the_others_alone():
    scores = cases.scores_of(9)
    truth = np.array([references.hard_rank(row) for row in scores])
    scores[1, 2], truth[1] = np.nan, -1
    np.testing.assert_array_equal(hard_rank(scores), truth)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3), min_size=9, max_size=9))
def test_ranks_are_a_permutation_that_keeps_the_order_of_scores(row):
    scores = np.array([row]) + 0.0
    ranks = hard_rank(scores).numpy()[0]
    assert sorted(ranks) == list(range(len(row)))
    assert (np.diff(scores[0][np.argsort(ranks)]) >= 0).all()


def test_has_no_gradient():
    scores = tf.constant([[5.0, 1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        ranks = tf.cast(hard_rank(scores), tf.float32)
    assert tape.gradient(ranks, scores) is None
