"""Soft sorts against SciPy and slow pooling, published values, limits and finite differences."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import soft_sort
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import MODES, run

each_regularization = pytest.mark.parametrize("regularization", ["l2", "kl"])
each_direction = pytest.mark.parametrize("direction", ["ascending", "descending"])
STRENGTHS = [1e-2, 0.1, 0.5, 3.0, 100.0]


@pytest.mark.parametrize("strength, truth", [(1.0, [5 / 3, 8 / 3, 11 / 3]), (0.1, [1.0, 2.0, 5.0])])
def test_published_values(strength, truth):
    np.testing.assert_allclose(soft_sort(np.array([5.0, 1.0, 2.0]), strength), truth, atol=1e-12)


@each_regularization
@each_direction
@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_matches_reference_in_float64(n, direction, regularization):
    scores = cases.scores_of(n)
    for strength in STRENGTHS:
        truth = [references.soft_sort(r, strength, regularization, direction) for r in scores]
        fast = soft_sort(scores, strength, regularization, direction)
        assert fast.dtype == tf.float64
        np.testing.assert_allclose(fast, truth, atol=1e-9)


@each_regularization
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_matches_reference_inside_a_function_where_the_batch_is_unknown(mode, regularization):
    scores = cases.scores_of(9)
    fast = run(functools.partial(soft_sort, regularization=regularization), scores, mode)
    truth = [references.soft_sort(row, 1.0, regularization) for row in scores]
    np.testing.assert_allclose(fast, truth, atol=1e-9)


@each_regularization
@pytest.mark.parametrize("n", [9, 40])
def test_matches_reference_in_float32_at_any_scale_and_offset(n, regularization):
    soft = cases.scores_of(n).astype("float32")
    ties = np.round(soft)
    for strength in [1e-6, *STRENGTHS]:
        for scores in (soft, ties, 1e6 + ties):
            result = soft_sort(scores, strength, regularization)
            truth = [references.soft_sort(row, strength, regularization) for row in scores]
            scale = np.abs(scores).max() + 1
            np.testing.assert_allclose(result, truth, atol=1e-6 * n * scale)


@each_regularization
def test_a_low_strength_sorts(regularization):
    scores = cases.scores_of(9)
    result = soft_sort(scores, 1e-8, regularization)
    np.testing.assert_allclose(result, np.sort(scores), atol=1e-12)


def test_a_high_strength_gives_the_mean():
    scores = cases.scores_of(9)
    mean = np.tile(scores.mean(axis=1, keepdims=True), 9)
    np.testing.assert_allclose(soft_sort(scores, 1e8), mean, atol=1e-6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.integers(-40, 40), min_size=9, max_size=9), st.sampled_from([0.02, 0.3, 3.0]))
def test_the_result_rises_keeps_the_sum_and_lies_in_the_permutahedron(row, strength):
    scores = np.array([row]) / 8
    result = soft_sort(scores, strength).numpy()[0]
    assert (np.diff(result) >= -1e-9).all()
    assert result.sum() == pytest.approx(scores.sum(), abs=1e-9)
    highest = np.cumsum(np.sort(scores[0])[::-1])
    assert (np.cumsum(result[::-1]) <= highest + 1e-9).all()


@each_regularization
@each_direction
def test_real_slots_come_first_and_the_rest_is_zero(direction, regularization):
    mask, scores = cases.mask_and_scores()
    result = soft_sort(scores, 0.5, regularization, direction, mask=mask).numpy()
    for row, real, sorted_row in zip(scores, mask, result):
        truth = np.zeros(9)
        if real.any():
            truth[: real.sum()] = references.soft_sort(row[real], 0.5, regularization, direction)
        np.testing.assert_allclose(sorted_row, truth, atol=1e-9)


@each_regularization
@each_direction
@pytest.mark.parametrize("n", [2, 9, 40])
def test_gradient_matches_finite_differences(n, direction, regularization):
    scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    for strength in (0.1, 1.0, 10.0):
        op = functools.partial(
            soft_sort, strength=strength, regularization=regularization, direction=direction
        )
        exact = cases.gradient_of(op, scores, upstream)
        numeric = cases.finite_differences(op, scores, upstream)
        np.testing.assert_allclose(exact, numeric, atol=1e-6)


@each_regularization
def test_gradient_beside_absent_slots_matches_finite_differences(regularization):
    mask, scores = cases.mask_and_scores()
    op = functools.partial(soft_sort, regularization=regularization, mask=tf.constant(mask))
    upstream = cases.scores_of(9, seed=1)
    exact = cases.gradient_of(op, scores, upstream)
    numeric = cases.finite_differences(op, np.where(mask, scores, 0.0), upstream)
    np.testing.assert_allclose(exact, numeric, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(exact)[~mask], 0.0)


@each_regularization
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_any_axis_may_be_sorted_along(axis, regularization):
    scores = np.random.RandomState(0).randn(9, 9, 1)
    result = soft_sort(scores, 0.5, regularization, axis=axis)
    truth = np.apply_along_axis(
        lambda row: references.soft_sort(row, 0.5, regularization), axis, scores
    )
    np.testing.assert_allclose(result, truth, atol=1e-9)


@each_regularization
@pytest.mark.parametrize("mode", MODES)
def test_a_row_with_a_nan_is_all_nan_and_leaves_the_others_alone(mode, regularization):
    scores = cases.scores_of(9)
    truth = np.array([references.soft_sort(row, 1.0, regularization) for row in scores])
    scores[1, 2] = truth[1] = np.nan
    op = functools.partial(soft_sort, regularization=regularization)
    np.testing.assert_allclose(run(op, scores, mode), truth, atol=1e-9)


@each_regularization
@pytest.mark.parametrize("dtype, half_a_step", [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_is_computed_in_float32(dtype, half_a_step, regularization):
    half = tf.cast(cases.scores_of(9), dtype)
    result = soft_sort(half, 0.3, regularization)
    assert result.dtype == dtype
    rows = tf.cast(half, "float64").numpy()
    truth = np.array([references.soft_sort(row, 0.3, regularization) for row in rows])
    error = np.abs(tf.cast(result, "float64").numpy() - truth)
    assert (error <= half_a_step * np.abs(truth) + 1e-5).all()


@each_regularization
def test_the_length_may_be_unknown_inside_a_function(regularization):
    op = functools.partial(soft_sort, regularization=regularization)
    unknown = tf.function(op, input_signature=[tf.TensorSpec([None, None], tf.float64)])
    for n in (1, 9, 40):
        truth = [references.soft_sort(row, 1.0, regularization) for row in cases.scores_of(n)]
        np.testing.assert_allclose(unknown(cases.scores_of(n)), truth, atol=1e-9)


@pytest.mark.parametrize("n", [3, 8, 20, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 30.0, 100.0])
def test_kl_sorts_are_right_however_far_scores_range(n, dtype, scale):
    scores = (scale * np.random.default_rng(n).normal(size=(20, n))).astype(dtype)
    for strength in (0.01, 0.3, 10.0):
        fast = soft_sort(scores, strength, "kl", "descending")
        truth = [
            references.soft_sort(row.astype("float64"), strength, "kl", "descending")
            for row in scores
        ]
        tolerance = 1e-9 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(fast, truth, atol=tolerance * (scale + n / strength))


def test_absent_slots_take_no_part_at_any_strength():
    mask = np.array([[True, True, True, False]])
    for strength in (1e-39, 1e-30, 1e-9):
        result = soft_sort(np.float32([[5, 1, 2, 9]]), strength, mask=mask)
        np.testing.assert_allclose(result, [[1, 2, 5, 0]])
