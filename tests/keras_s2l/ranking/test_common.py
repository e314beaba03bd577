"""What all ranking ops have in common."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import hard_rank, perturbed_rank, rank_strengths, soft_rank, soft_sort
from keras_s2l._compiled import compiled
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import MODES, run

GUMBEL = {"noise": "gumbel"}
KL = {"regularization": "kl"}
# Ops of scores and how soft to be, and their slow references for one row.
SOFT = {
    "l2": (soft_rank, lambda row, strength: references.pooled_ranks(row, strength)[0]),
    "kl": (
        functools.partial(soft_rank, **KL),
        lambda row, strength: references.pooled_ranks(row, strength, "kl")[0],
    ),
    "normal": (perturbed_rank, references.perturbed_rank),
    "gumbel": (functools.partial(perturbed_rank, **GUMBEL), references.perturbed_rank_gumbel),
}
# Eighths, whose differences and shifts by whole numbers are exact.
ROWS = st.lists(st.integers(-40, 40), min_size=9, max_size=9).map(lambda row: np.array([row]) / 8)
SOFTNESSES = st.sampled_from([0.1, 1.0, 7.0])

each_soft_op = pytest.mark.parametrize("op", [op for op, _ in SOFT.values()], ids=SOFT)
with_reference = pytest.mark.parametrize(("op", "reference"), SOFT.values(), ids=SOFT)
few_examples = settings(deadline=None, max_examples=40, derandomize=True)


@with_reference
@pytest.mark.parametrize("mode", MODES)
def test_matches_reference_in_float64_where_the_batch_is_unknown(op, reference, mode):
    scores = cases.scores_of(9)
    softnesses = [1e-3, 0.3, 10.0]
    fast = run(lambda x: tf.stack([op(x, softness) for softness in softnesses]), scores, mode)
    assert fast.dtype == tf.float64
    truth = [[reference(row, softness) for row in scores] for softness in softnesses]
    np.testing.assert_allclose(fast, truth, atol=1e-9)


@with_reference
@pytest.mark.parametrize("n", [1, 2, pytest.param(40, marks=pytest.mark.slow)])
def test_matches_reference_whatever_the_length(op, reference, n):
    scores = cases.scores_of(n)
    for softness in (1e-3, 0.3, 10.0):
        truth = [reference(row, softness) for row in scores]
        np.testing.assert_allclose(op(scores, softness), truth, atol=1e-9)


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES)
def test_ranks_lie_in_the_permutahedron_and_keep_the_order_of_scores(op, scores, softness):
    ranks = op(scores, softness).numpy()[0]
    highest_sums = np.cumsum(np.sort(ranks)[::-1])  # Majorised by 8, 7, …, 0.
    assert (highest_sums <= np.cumsum(np.arange(8, -1, -1)) + 1e-9).all()
    assert ranks.sum() == pytest.approx(36, abs=1e-9)
    assert (np.diff(ranks[np.argsort(scores[0])]) >= -1e-9).all()
    for tied in np.equal.outer(scores[0], scores[0]):
        assert np.ptp(ranks[tied]) <= 1e-9


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES, st.integers(-1000, 1000))
def test_a_shift_of_all_scores_changes_nothing(op, scores, softness, shift):
    shifted = op(scores + shift, softness)
    np.testing.assert_allclose(shifted, op(scores, softness), atol=1e-9)


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES, st.permutations(range(9)))
def test_permuted_scores_have_permuted_ranks(op, scores, softness, order):
    permuted = op(scores[:, order], softness).numpy()
    np.testing.assert_allclose(permuted, op(scores, softness).numpy()[:, order], atol=1e-9)


@each_soft_op
def test_descending_ranks_are_those_of_the_negated_scores(op):
    scores, upstream = cases.scores_of(9), cases.scores_of(9, seed=1)
    descending = functools.partial(op, direction="descending")
    np.testing.assert_allclose(descending(scores), op(-scores), atol=1e-12)
    np.testing.assert_allclose(
        cases.gradient_of(descending, scores, upstream),
        -cases.gradient_of(op, -scores, upstream).numpy(),
        atol=1e-12,
    )


@each_soft_op
@pytest.mark.parametrize("shape, axis", [((9,), -1), ((9, 7), 0), ((7, 9, 1), -2)])
def test_any_axis_may_be_ranked_along(op, shape, axis):
    scores = np.random.RandomState(0).randn(*shape)
    upstream = np.random.RandomState(1).randn(*shape)

    def rows(x):
        return np.moveaxis(np.asarray(x), axis, -1).reshape(-1, 9)

    along = functools.partial(op, axis=axis)
    np.testing.assert_allclose(rows(along(scores)), op(rows(scores)), atol=1e-12)
    np.testing.assert_allclose(
        rows(cases.gradient_of(along, scores, upstream)),
        cases.gradient_of(op, rows(scores), rows(upstream)),
        atol=1e-12,
    )


@with_reference
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_of_three_matches_numpy_along_it(op, reference, axis):
    scores = np.random.RandomState(0).randn(*np.roll([9, 7, 1], axis))
    truth = np.apply_along_axis(lambda row: reference(row, 0.5), axis, scores)
    np.testing.assert_allclose(op(scores, 0.5, axis=axis), truth, atol=1e-9)


@with_reference
def test_rows_of_different_lengths_are_ranked_as_if_alone(op, reference):
    mask, scores = cases.mask_and_scores()
    for softness in (0.3, 3.0, 1e8):
        ranks = op(scores, softness, mask=mask)
        truth = cases.row_by_row(lambda row: reference(row, softness), mask, scores)  # noqa: B023
        np.testing.assert_allclose(ranks, truth, atol=1e-9)


@with_reference
@pytest.mark.parametrize("direction, sign", [("ascending", 1), ("descending", -1)])
def test_infinite_scores_stay_real_beside_absent_slots(op, reference, direction, sign):
    mask, scores = cases.mask_and_scores(absent=-np.inf)
    scores = np.where(np.random.RandomState(1).rand(7, 9) < 0.4, -np.inf, scores)
    truth = cases.row_by_row(lambda row: reference(sign * row, 0.3), mask, scores)
    with np.errstate(invalid="ignore"):
        ranks = op(scores, 0.3, direction=direction, mask=mask)
    np.testing.assert_allclose(ranks, truth, atol=1e-9)


@each_soft_op
def test_absent_slots_have_no_gradient_and_take_no_part_in_that_of_others(op):
    mask, scores = cases.mask_and_scores()
    upstream = cases.scores_of(9, seed=1)
    op = functools.partial(op, mask=tf.constant(mask))
    exact = cases.gradient_of(op, scores, upstream).numpy()
    assert (exact[~mask] == 0).all()
    other = cases.gradient_of(op, scores, np.where(mask, upstream, 1e9)).numpy()
    np.testing.assert_array_equal(other, exact)
    here = np.where(mask, scores, 0.0)
    numeric = cases.finite_differences(op, here, np.where(mask, upstream, 0.0))
    np.testing.assert_allclose(exact, numeric, atol=1e-7)


@each_soft_op
def test_a_full_mask_changes_nothing(op):
    scores = cases.scores_of(9)
    np.testing.assert_allclose(op(scores, mask=scores < np.inf), op(scores), atol=1e-12)


@with_reference
@pytest.mark.parametrize("mode", MODES)
def test_a_row_with_a_nan_is_all_nan_and_leaves_the_others_alone(op, reference, mode):
    scores = cases.scores_of(9)
    scores[1, 2] = np.nan
    ranks = run(op, scores, mode).numpy()
    assert np.isnan(ranks[1]).all()
    others = [0, *range(2, 7)]
    truth = [reference(row, 1.0) for row in scores[others]]
    np.testing.assert_allclose(ranks[others], truth, atol=1e-9)


@each_soft_op
def test_a_row_with_a_nan_leaves_the_gradient_of_the_others_alone(op):
    scores, upstream = cases.scores_of(9), cases.scores_of(9, seed=1)
    truth = cases.gradient_of(op, scores, upstream).numpy()
    scores[1, 2] = np.nan
    others = [0, *range(2, 7)]
    gradient = cases.gradient_of(op, scores, upstream).numpy()
    np.testing.assert_array_equal(gradient[others], truth[others])


@with_reference
@pytest.mark.parametrize("n", [2, 9, 40])
def test_an_extreme_softness_gives_hard_or_mean_ranks(op, reference, n):
    scores = cases.scores_of(n).astype("float32")
    hard = [references.hard_rank(row) for row in scores]
    np.testing.assert_allclose(op(scores, 1e-8), hard, atol=1e-5 * n)
    mean = np.full((7, n), (n - 1) / 2)
    np.testing.assert_allclose(op(scores, 1e8), mean, atol=1e-5 * n)


@with_reference
@pytest.mark.parametrize("dtype, half_a_step", [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_is_computed_in_float32(op, reference, dtype, half_a_step):
    half = tf.cast(cases.scores_of(9) * 5, dtype)
    ranks = op(half, 3.0)
    assert ranks.dtype == dtype
    truth = np.array([reference(row, 3.0) for row in tf.cast(half, "float64").numpy()])
    error = np.abs(tf.cast(ranks, "float64").numpy() - truth)
    assert (error <= half_a_step * np.abs(truth) + 1e-4).all()
    assert cases.gradient_of(op, half, cases.scores_of(9, seed=1)).dtype == dtype


@with_reference
def test_float32_stays_float32(op, reference):
    scores = cases.scores_of(9).astype("float32")
    ranks = op(scores)
    assert ranks.dtype == tf.float32
    np.testing.assert_allclose(ranks, [reference(row, 1.0) for row in scores], atol=1e-5)
    assert cases.gradient_of(op, scores, scores).dtype == tf.float32


@with_reference
def test_the_length_may_be_unknown_inside_a_function(op, reference):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64)] * 2)
    def ranks_and_gradient(scores, upstream):
        ranks = op(scores)
        return ranks, tf.gradients(ranks, scores, upstream)[0]

    for n in (1, 9, 40):
        scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
        ranks, gradient = ranks_and_gradient(scores, upstream)
        np.testing.assert_allclose(ranks, [reference(row, 1.0) for row in scores], atol=1e-9)
        truth = cases.gradient_of(op, scores, upstream)
        np.testing.assert_allclose(gradient, truth, atol=1e-9)


@each_soft_op
@pytest.mark.parametrize("shape", [(0, 9), (0, 40), (3, 0), (0, 0)])
def test_no_scores_have_no_ranks_and_no_gradient(op, shape):
    scores = tf.zeros(shape)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        ranks = op(scores)
    assert ranks.shape == shape
    assert tape.gradient(ranks, scores).shape == shape


@each_soft_op
def test_rows_may_be_mapped_over(op):
    scores, upstream = cases.scores_of(9), tf.constant(cases.scores_of(9, seed=1))
    mapped = cases.gradient_of(lambda x: tf.map_fn(lambda row: op(row), x), scores, upstream)
    np.testing.assert_allclose(mapped, cases.gradient_of(op, scores, upstream), atol=1e-12)


@each_soft_op
def test_rows_may_be_vectorized_with_the_gradient_inside(op):
    scores, upstream = tf.constant(cases.scores_of(9)), tf.constant(cases.scores_of(9, seed=1))
    ranks = tf.vectorized_map(lambda row: op(row, 0.5), scores)
    np.testing.assert_allclose(ranks, op(scores, 0.5), atol=1e-12)

    def gradient(pair):
        return cases.gradient_of(op, *pair)

    mapped = tf.vectorized_map(gradient, (scores, upstream))
    np.testing.assert_allclose(mapped, cases.gradient_of(op, scores, upstream), atol=1e-12)


each_op = pytest.mark.parametrize(
    "op", [hard_rank, perturbed_rank, rank_strengths, soft_rank, soft_sort]
)


@each_op
@pytest.mark.parametrize("scores", [[[5, 1, 2]], np.array([[5, 1, 2]], "int64")])
def test_integer_scores_are_refused(op, scores):
    with pytest.raises(ValueError, match=r"`scores` must be.*floating.*Received: scores of dtype"):
        op(scores)


@each_op
def test_a_scalar_is_refused(op):
    with pytest.raises(ValueError, match="`scores` must have an axis"):
        op(np.float32(1.0))


@each_op
@pytest.mark.parametrize("axis", [2, -3, 0.0, None, True])
def test_a_bad_axis_is_refused(op, axis):
    with pytest.raises(ValueError, match=r"`axis` must be.*Received: axis="):
        op(np.zeros((7, 9)), axis=axis)


@each_op
@pytest.mark.parametrize("mask", [np.ones((7, 9)), np.ones((7, 8), bool), np.ones(9, bool)])
def test_a_mask_that_is_not_boolean_or_does_not_fit_is_refused(op, mask):
    with pytest.raises(ValueError, match=r"`mask` must be booleans.*Received: mask of"):
        op(np.zeros((7, 9)), mask=mask)


@pytest.mark.parametrize("op", [hard_rank, perturbed_rank, soft_rank, soft_sort])
@pytest.mark.parametrize("direction", ["up", None, 1])
def test_a_bad_direction_is_refused(op, direction):
    with pytest.raises(ValueError, match=r"`direction` must be one of.*Received: direction="):
        op(np.zeros((7, 9)), direction=direction)


@pytest.mark.parametrize("op", [rank_strengths, soft_rank, soft_sort])
def test_a_bad_regularization_is_refused(op):
    with pytest.raises(ValueError, match=r"`regularization` must be one of.*Received: regul"):
        op(np.zeros((7, 9)), regularization="l1")


@pytest.mark.parametrize(
    "op, name", [(perturbed_rank, "sigma"), (soft_rank, "strength"), (soft_sort, "strength")]
)
@pytest.mark.parametrize("softness", [0, -1.0, float("inf"), float("nan"), True, "1", None])
def test_a_bad_softness_is_refused(op, name, softness):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive.*Received: {name}="):
        op(np.zeros((7, 9)), softness)


@each_soft_op
@pytest.mark.parametrize("n", [4, 13, 40])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_bad_row_leaves_the_others_alone_wherever_it_stands(op, n, bad):
    scores = cases.scores_of(n)[:3]
    good = np.asarray(op(scores))
    for place in range(3):
        spoilt = scores.copy()
        spoilt[place, [0, n - 1]] = bad
        others = [row for row in range(3) if row != place]
        np.testing.assert_allclose(np.asarray(op(spoilt))[others], good[others], atol=1e-9)


@each_soft_op
def test_the_softest_and_the_hardest_are_finite(op):
    scores = np.float32([[np.inf, 1, 2], [1, 2, 3], [30, 10, 20]])
    np.testing.assert_allclose(np.asarray(op(scores, 1e39))[1:], 1.0, atol=1e-6)
    hard = np.asarray(op(scores, 1e-39))[1:]
    np.testing.assert_allclose(hard, [[0, 1, 2], [2, 0, 1]], atol=1e-6)


@pytest.mark.parametrize(("shape", "traced"), [((3, 9), (None, 9)), ((3, 300), (3, 300))])
def test_called_eagerly_only_long_rows_are_traced_for_each_batch_size(shape, traced):
    seen = []

    @compiled
    def core(x):
        seen.append(tuple(x.shape))
        return x

    core(tf.zeros(shape))
    assert seen == [traced]
