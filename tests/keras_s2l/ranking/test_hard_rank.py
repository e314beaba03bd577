"""Hard ranks against counting loops and SciPy's ordinal ranks."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keras_s2l import hard_rank
from tests import references
from tests.layer_checks import MODES, run


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [1, 2, 9, 33])
def test_matches_reference(num_patches, mode):
    scores = np.random.RandomState(0).randn(7, num_patches)
    ranks = run(hard_rank, scores, mode)
    assert ranks.dtype == tf.int32
    np.testing.assert_array_equal(ranks, [references.hard_rank(row) for row in scores])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [2, 9, 33])
def test_ties_are_ranked_as_they_stand(num_patches, mode):
    scores = np.random.RandomState(1).randint(0, 3, (7, num_patches)).astype("float32")
    scores[0] = 5.0
    truth = stats.rankdata(scores, method="ordinal", axis=1) - 1
    np.testing.assert_array_equal(run(hard_rank, scores, mode), truth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_each_floating_dtype_gives_int32(dtype, mode):
    ranks = run(hard_rank, tf.constant([[5.0, 1.0, 2.0]], dtype), mode)
    assert ranks.dtype == tf.int32
    np.testing.assert_array_equal(ranks, [[2, 0, 1]])


@pytest.mark.parametrize("mode", MODES)
def test_extreme_scores_are_ranked(mode):
    scores = np.array(
        [
            [np.inf, 0.0, -np.inf, 3e38],
            [1e30, -1e30, 2e30, 0.0],
            [1e6 + 0.5, 1e6, 1e6 - 0.5, 1e6 + 1],
        ],
        "float32",
    )
    np.testing.assert_array_equal(
        run(hard_rank, scores, mode), [references.hard_rank(row) for row in scores]
    )


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
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
