"""What all ranking ops have in common."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import hard_rank, perturbed_rank, soft_rank
from tests import references
from tests.layer_checks import MODES, run

# Op, its slow reference, tolerances in float64 and float32; both take scores and how soft to be.
SOFT = {
    "soft": (soft_rank, references.soft_rank, 1e-9, 1e-6),
    "perturbed": (perturbed_rank, references.perturbed_rank, 1e-12, 1e-5),
}
# Eighths, whose differences and shifts by whole numbers are exact.
ROWS = st.lists(st.integers(-80, 80), min_size=1, max_size=9).map(lambda row: np.array([row]) / 8)
SOFTNESSES = st.sampled_from([0.1, 1.0, 7.0])

each_soft_op = pytest.mark.parametrize("op", [op for op, *_ in SOFT.values()], ids=SOFT)
with_reference = pytest.mark.parametrize(
    ("op", "reference", "double", "single"), SOFT.values(), ids=SOFT
)
few_examples = settings(deadline=None, max_examples=30, derandomize=True)


@with_reference
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [1, 2, 9])
@pytest.mark.parametrize("softness", [1e-3, 0.3, 10.0])
def test_matches_reference_in_float64(op, reference, double, single, softness, num_patches, mode):
    scores = np.random.RandomState(0).randn(7, num_patches)
    fast = run(lambda x: op(x, softness), scores, mode)
    assert fast.dtype == tf.float64
    np.testing.assert_allclose(fast, [reference(row, softness) for row in scores], atol=double)


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES)
def test_ranks_sum_to_their_total_stay_in_range_and_keep_the_order_of_scores(op, scores, softness):
    n = scores.shape[1]
    ranks = op(scores, softness).numpy()[0]
    assert ranks.sum() == pytest.approx(n * (n - 1) / 2, abs=1e-9)
    assert ranks.min() >= -1e-9 and ranks.max() <= n - 1 + 1e-9
    assert (np.diff(ranks[np.argsort(scores[0])]) >= -1e-9).all()


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES, st.integers(-1000, 1000))
def test_a_shift_of_all_scores_changes_nothing(op, scores, softness, shift):
    np.testing.assert_array_equal(op(scores + shift, softness), op(scores, softness))


@each_soft_op
@few_examples
@given(ROWS, SOFTNESSES, st.randoms(use_true_random=False))
def test_permuted_scores_have_permuted_ranks(op, scores, softness, random):
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    permuted = op(scores[:, order], softness).numpy()
    np.testing.assert_allclose(permuted, op(scores, softness).numpy()[:, order], atol=1e-9)


@with_reference
@pytest.mark.parametrize("mode", MODES)
def test_a_row_with_a_nan_is_all_nan_and_leaves_the_others_alone(
    op, reference, double, single, mode
):
    scores = np.random.RandomState(0).randn(3, 4).astype("float32")
    scores[1, 2] = np.nan
    ranks = run(op, scores, mode).numpy()
    assert np.isnan(ranks[1]).all()
    truth = [reference(row, 1.0) for row in scores[[0, 2]]]
    np.testing.assert_allclose(ranks[[0, 2]], truth, atol=1e-5)


@with_reference
@pytest.mark.parametrize("mode", MODES)
def test_an_extreme_softness_gives_hard_or_mean_ranks(op, reference, double, single, mode):
    scores = np.random.RandomState(0).randn(5, 9).astype("float32")
    hardest = run(lambda x: op(x, 1e-8), scores, mode)
    softest = run(lambda x: op(x, 1e8), scores, mode)
    np.testing.assert_allclose(hardest, [references.hard_rank(row) for row in scores], atol=single)
    np.testing.assert_allclose(softest, np.full((5, 9), 4.0), atol=single)


each_op = pytest.mark.parametrize("op", [hard_rank, perturbed_rank, soft_rank])


@each_op
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_scores_are_refused(op, dtype):
    with pytest.raises(ValueError, match=f"floating dtype.*Received: scores of dtype {dtype}"):
        op(tf.constant([[5, 1, 2]], dtype))


@each_op
@pytest.mark.parametrize("shape", [(3,), (2, 3, 1)])
def test_scores_of_another_rank_are_refused(op, shape):
    with pytest.raises(ValueError, match=r"shape \(batch, num_patches\).*Received"):
        op(np.zeros(shape))
