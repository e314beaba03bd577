"""Soft ranks against SciPy's isotonic regression, the permutahedron, and finite differences."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import SoftRank, soft_rank
from tests import references
from tests.keras_s2l.ranking.cases import HOSTILE_ROWS, gradient_of
from tests.layer_checks import MODES, check_layer, run


# Eighths, whose differences and shifts by whole numbers are exact.
@pytest.mark.parametrize("mode", MODES)
def test_published_value(mode):
    op = functools.partial(soft_rank, strength=2.0)
    np.testing.assert_allclose(run(op, [[5.0, 1.0, 2.0]], mode), [[2.0, 0.25, 0.75]], atol=1e-6)


@pytest.mark.parametrize("num_patches", [20, 100])
@pytest.mark.parametrize("strength", [0.1, 1.0, 100.0])
def test_matches_reference_in_float32(strength, num_patches):
    scores = np.random.RandomState(0).randn(5, num_patches).astype("float32")
    fast = soft_rank(scores, strength)
    assert fast.dtype == tf.float32
    truth = [references.soft_rank(row, strength) for row in scores]
    np.testing.assert_allclose(fast, truth, atol=1e-4)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(-30, 30), min_size=4, max_size=4), st.sampled_from([0.1, 1.0, 7.0]))
def test_is_the_nearest_point_of_the_permutahedron(row, strength):
    target = np.array(row) / 8 / strength
    ranks = soft_rank(np.array([row]) / 8, strength).numpy()[0]
    for vertex in itertools.permutations(range(4)):
        assert (target - ranks) @ (vertex - ranks) <= 1e-9 * (1 + np.abs(target).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype, half_a_step", [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_is_computed_in_float32(dtype, half_a_step, mode):
    op = functools.partial(soft_rank, strength=3.0)
    half = tf.cast(np.random.RandomState(0).randn(5, 20) * 30, dtype)
    ranks = run(op, half, mode)
    assert ranks.dtype == dtype
    truth = [references.soft_rank(row, 3.0) for row in tf.cast(half, "float64").numpy()]
    np.testing.assert_allclose(tf.cast(ranks, "float64"), truth, rtol=half_a_step, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_has_a_gradient_of_its_dtype(dtype):
    gradient = gradient_of(soft_rank, tf.constant([[0.0, 0.5, 1.0]], dtype), [[1.0, 0.0, 0.0]])
    assert gradient.dtype == dtype
    truth = [[2 / 3, -1 / 3, -1 / 3]]
    np.testing.assert_allclose(tf.cast(gradient, "float32"), truth, rtol=2**-8)


def test_a_row_with_a_nan_leaves_the_gradient_of_the_others_alone():
    scores = np.random.RandomState(0).randn(3, 4)
    upstream = np.random.RandomState(1).randn(3, 4)
    truth = gradient_of(soft_rank, scores[[0, 2]], upstream[[0, 2]])
    scores[1, 2] = np.nan
    np.testing.assert_array_equal(
        gradient_of(soft_rank, scores, upstream).numpy()[[0, 2]], truth.numpy()
    )


@pytest.mark.parametrize("mode", MODES)
def test_equal_scores_share_their_rank(mode):
    scores = [[1.0, 0.0, 1.0, 0.0], [3.0, 3.0, 3.0, 3.0], [np.inf, np.inf, 0.0, -np.inf]]
    truth = [[2.5, 0.5, 2.5, 0.5], [1.5, 1.5, 1.5, 1.5], [2.5, 2.5, 1.0, 0.0]]
    op = functools.partial(soft_rank, strength=1e-2)
    np.testing.assert_allclose(run(op, scores, mode), truth, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strength", [1e-8, 1.0])
def test_scores_far_apart_and_infinite_ones_are_ranked_hard(strength, mode):
    scores = np.array(
        [[np.inf, -7.0, -np.inf, 7.0], [1e30, -1e30, 2e30, 0.0], [4.1, 0.0, 12.3, 8.2]], "float32"
    )
    ranks = run(functools.partial(soft_rank, strength=strength), scores, mode)
    np.testing.assert_allclose(ranks, [references.hard_rank(row) for row in scores], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_large_offset_costs_no_precision(mode):
    scores = np.random.RandomState(0).randint(-16, 16, (5, 9)) / 8
    shifted = (scores + 1e6).astype("float32")
    truth = [references.soft_rank(row, 1.0) for row in scores]
    np.testing.assert_allclose(run(soft_rank, shifted, mode), truth, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [2, 9])
@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_gradient_matches_finite_differences(strength, num_patches, mode):
    scores = tf.constant(np.random.RandomState(1).randn(3, num_patches))
    op = functools.partial(soft_rank, strength=strength)
    if mode != "eager":
        op = tf.function(op, jit_compile=mode == "xla")
    exact, numeric = tf.test.compute_gradient(op, [scores], delta=1e-6)
    assert np.abs(numeric[0]).max() > 1e-3
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-6)


@pytest.mark.parametrize("margin, slope", [(0.5, 0.25), (-1.5, 0.25), (2.5, 0.0), (-9.0, 0.0)])
def test_gradient_of_two_scores_in_closed_form(margin, slope):
    op = functools.partial(soft_rank, strength=2.0)
    gradient = gradient_of(op, np.array([[margin, 0.0]]), [[1.0, 0.0]])
    np.testing.assert_allclose(gradient, [[slope, -slope]], atol=1e-12)


@pytest.mark.parametrize("strength", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("row", HOSTILE_ROWS.values(), ids=HOSTILE_ROWS)
def test_gradient_is_finite_and_sums_to_zero(row, strength):
    upstream = np.array([[1.0, -2.0, 3.0, 0.5]])
    op = functools.partial(soft_rank, strength=strength)
    gradient = gradient_of(op, tf.constant([row]), upstream).numpy()
    assert np.isfinite(gradient).all()
    assert abs(gradient.sum()) <= 1e-6 * max(1.0, 1 / strength)


@pytest.mark.parametrize("strength", [0, -1.0, float("inf"), float("nan"), True, "1", None])
@pytest.mark.parametrize(
    "make", [SoftRank, functools.partial(soft_rank, np.zeros((1, 2)))], ids=["layer", "op"]
)
def test_a_bad_strength_is_refused(make, strength):
    with pytest.raises(ValueError, match=r"`strength` must be a positive.*Received: strength="):
        make(strength)


def test_an_unknown_number_of_patches_is_refused():
    compiled = tf.function(soft_rank, input_signature=[tf.TensorSpec([None, None])])
    with pytest.raises(ValueError, match="with a known number of patches"):
        compiled(np.zeros((1, 2), "float32"))


def test_layer_gives_the_published_value_and_keeps_its_strength():
    layer = SoftRank.from_config(SoftRank(strength=2.0).get_config())
    np.testing.assert_allclose(layer(np.array([[5.0, 1.0, 2.0]])), [[2.0, 0.25, 0.75]], atol=1e-6)


def test_layer_passes_the_shared_check(tmp_path):
    scores = np.random.RandomState(0).randn(4, 6).astype("float32")
    check_layer(SoftRank(strength=0.7), scores, tmp_path)
