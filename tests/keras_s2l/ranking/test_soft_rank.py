"""Soft ranks against SciPy, slow pooling, the permutahedron, closed forms, finite differences."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import SoftRank, rank_strengths, soft_rank
from tests import references
from tests.keras_s2l.ranking import cases
from tests.layer_checks import check_layer, run
from tests.replicas import run_on_two_replicas

each_regularization = pytest.mark.parametrize("regularization", ["l2", "kl"])


@each_regularization
@pytest.mark.parametrize("n", [1, 2, 9, 40, pytest.param(300, marks=pytest.mark.slow)])
def test_hostile_rows_match_reference_at_every_strength(n, regularization):
    scores = cases.hostile_rows(n)
    for strength in cases.STRENGTHS:
        with np.errstate(over="ignore"):
            truth = [references.pooled_ranks(row, strength, regularization)[0] for row in scores]
        ranks = soft_rank(scores, strength, regularization)
        np.testing.assert_allclose(ranks, truth, atol=1e-5 * n, err_msg=f"strength {strength}")


@each_regularization
def test_each_hostile_row_alone_matches_reference(regularization):
    extremes = np.array([-np.inf, *range(7), np.inf], "float32")  # Their mean is not defined.
    for row in (*cases.hostile_rows(9), extremes, -extremes):
        for strength in (1e-2, 1.0, 1e8):
            truth = references.pooled_ranks(row, strength, regularization)[0]
            ranks = soft_rank(row[None], strength, regularization)
            np.testing.assert_allclose(ranks, [truth], atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_l2_ranks_match_scipy(n):
    scores = cases.scores_of(n)
    for strength in (1e-2, 0.3, 1.0, 10.0):
        truth = [references.soft_rank(row, strength) for row in scores]
        np.testing.assert_allclose(soft_rank(scores, strength), truth, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("regularization, mode", [("l2", "graph"), ("kl", "xla")])
def test_long_rows_match_reference_inside_a_function_where_the_batch_is_unknown(
    regularization, mode
):
    scores = cases.scores_of(40)
    op = functools.partial(soft_rank, regularization=regularization)
    truth = [references.pooled_ranks(row, 1.0, regularization)[0] for row in scores]
    np.testing.assert_allclose(run(op, scores, mode), truth, atol=1e-9)


def test_published_value():
    ranks = soft_rank(np.array([[5.0, 1.0, 2.0]]), strength=2.0)
    np.testing.assert_allclose(ranks, [[2.0, 0.25, 0.75]], atol=1e-12)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(-30, 30), min_size=4, max_size=4), st.sampled_from([0.1, 1.0, 7.0]))
def test_l2_ranks_are_the_nearest_point_of_the_permutahedron(row, strength):
    target = np.array(row) / 8 / strength
    ranks = soft_rank(np.array([row]) / 8, strength).numpy()[0]
    for vertex in itertools.permutations(range(4)):
        assert (target - ranks) @ (vertex - ranks) <= 1e-9 * (1 + np.abs(target).max())


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(-30, 30), min_size=4, max_size=4), st.sampled_from([0.1, 1.0, 7.0]))
def test_kl_ranks_have_the_least_relative_entropy_in_the_permutahedron(row, strength):
    target = np.array(row) / 8 / strength
    ranks = soft_rank(np.array([row]) / 8, strength, "kl").numpy()[0] + 1
    slope = np.log(ranks) - target  # Of the relative entropy to exp(target): least where it rises
    for vertex in itertools.permutations(range(1, 5)):  # towards every vertex.
        assert slope @ (vertex - ranks) >= -1e-9 * (1 + np.abs(target).max())


@each_regularization
def test_equal_scores_share_their_rank_at_any_strength(regularization):
    scores = np.array([[1.0, 0.0, 1.0, 0.0], [3.0, 3.0, 3.0, 3.0], [np.inf, np.inf, 0.0, -np.inf]])
    truth = [[2.5, 0.5, 2.5, 0.5], [1.5, 1.5, 1.5, 1.5], [2.5, 2.5, 1.0, 0.0]]
    for strength in (1e-30, 1e-8, 1e-2):
        ranks = soft_rank(scores, strength, regularization)
        np.testing.assert_allclose(ranks, truth, atol=1e-12)


@each_regularization
@pytest.mark.parametrize("n", [2, 9, 40])
def test_negative_zero_ties_with_zero(n, regularization):
    zeros = np.where(np.arange(n) % 2, -0.0, 0.0)
    ranks = soft_rank(np.array([zeros] * 7), 1e-8, regularization)
    np.testing.assert_allclose(ranks, np.full((7, n), (n - 1) / 2), atol=1e-9)


@each_regularization
@pytest.mark.parametrize("n", [2, 9, 40])
def test_gradient_is_the_closed_form_jacobian_at_every_strength(n, regularization):
    scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    scores[-1] = np.round(scores[-1])  # Ties.
    for strength in cases.STRENGTHS:
        op = functools.partial(soft_rank, strength=strength, regularization=regularization)
        gradient = cases.gradient_of(op, scores, upstream).numpy()
        for row, slopes, given_slopes in zip(scores, gradient, upstream):
            jacobian = references.soft_rank_jacobian(row, strength, regularization)
            # At ties the blocks are those that the ranks have: the mean of theirs is subtracted.
            np.testing.assert_allclose(
                slopes * strength, jacobian @ given_slopes * strength, atol=1e-9 * n
            )


@each_regularization
@pytest.mark.parametrize("n", [2, 9, 40])
def test_gradient_matches_finite_differences(n, regularization):
    scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    for strength in (0.3, 1.0, 10.0):
        op = functools.partial(soft_rank, strength=strength, regularization=regularization)
        exact = cases.gradient_of(op, scores, upstream)
        numeric = cases.finite_differences(op, scores, upstream)
        np.testing.assert_allclose(exact, numeric, atol=1e-6)
    assert np.abs(numeric).max() > 1e-3


@each_regularization
@pytest.mark.parametrize("n", [9, 40])
@pytest.mark.parametrize("jit", [False, True])
def test_gradient_inside_a_function_is_that_outside(jit, n, regularization):
    scores, upstream = cases.scores_of(n), cases.scores_of(n, seed=1)
    op = functools.partial(soft_rank, regularization=regularization)
    inside = tf.function(functools.partial(cases.gradient_of, op), jit_compile=jit)
    gradient = inside(tf.constant(scores), tf.constant(upstream))
    truth = [
        references.soft_rank_jacobian(row, 1.0, regularization) @ slopes
        for row, slopes in zip(scores, upstream)
    ]
    np.testing.assert_allclose(gradient, truth, atol=1e-9)


@pytest.mark.parametrize("margin, slope", [(0.5, 0.25), (-1.5, 0.25), (2.5, 0.0), (-9.0, 0.0)])
def test_l2_gradient_of_two_scores_in_closed_form(margin, slope):
    op = functools.partial(soft_rank, strength=2.0)
    gradient = cases.gradient_of(op, np.array([[margin, 0.0]]), [[1.0, 0.0]])
    np.testing.assert_allclose(gradient, [[slope, -slope]], atol=1e-12)


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.5, 1.3])
def test_kl_ranks_of_two_scores_in_closed_form(margin):
    op = functools.partial(soft_rank, strength=2.0, regularization="kl")
    above = 1 / (1 + np.exp(-margin / 2.0))  # One block while below log 2 times the strength.
    scores = np.array([[margin, 0.0]])
    np.testing.assert_allclose(op(scores), [[3 * above - 1, 2 - 3 * above]], atol=1e-12)
    slope = 3 * above * (1 - above) / 2.0
    gradient = cases.gradient_of(op, scores, [[1.0, 0.0]])
    np.testing.assert_allclose(gradient, [[slope, -slope]], atol=1e-12)


@each_regularization
@pytest.mark.parametrize("n", [9, 40])
def test_gradient_of_hostile_rows_is_finite_and_sums_to_zero(n, regularization):
    scores = cases.hostile_rows(n)
    upstream = cases.scores_of(n, batch=len(scores))
    for strength in [1e-30, *cases.STRENGTHS, 1e30]:
        op = functools.partial(soft_rank, strength=strength, regularization=regularization)
        gradient = cases.gradient_of(op, scores, upstream).numpy()
        assert np.isfinite(gradient).all(), strength
        total = np.abs(gradient.astype("float64").sum(axis=1))
        largest = 1e-6 * n / strength * (1 if regularization == "l2" else n)
        assert (total <= largest).all(), strength


@each_regularization
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranks_are_hard_and_without_gradient_below_the_bound_that_is_told(dtype, regularization):
    scores = cases.scores_of(9).astype(dtype)
    upstream = cases.scores_of(9, seed=1)
    bounds = rank_strengths(scores, regularization).hard.numpy()
    for row, bound in enumerate(bounds):
        for share in (0.01, 0.5, 0.999):
            op = functools.partial(
                soft_rank, strength=float(bound) * share, regularization=regularization
            )
            np.testing.assert_array_equal(op(scores)[row], references.hard_rank(scores[row]))
            gradient = cases.gradient_of(op, scores, upstream)[row]
            np.testing.assert_array_equal(gradient, np.zeros(9))


@each_regularization
def test_ranks_are_soft_above_the_bound_that_is_told(regularization):
    scores = cases.scores_of(9)
    for row, bound in enumerate(rank_strengths(scores, regularization).hard.numpy()):
        ranks = soft_rank(scores, float(bound) * 1.001, regularization).numpy()[row]
        assert np.abs(ranks - references.hard_rank(scores[row])).max() > 1e-4


@each_regularization
def test_all_scores_are_one_block_at_and_above_the_bound_that_is_told(regularization):
    scores = cases.scores_of(9)
    for row, bound in enumerate(rank_strengths(scores, regularization).pooled.numpy()):
        for strength in (bound, 1.5 * bound, 100 * bound):
            truth = 4 + (scores[row] - scores[row].mean()) / strength
            if regularization == "kl":
                shares = np.exp(scores[row] / strength)
                truth = 45 * shares / shares.sum() - 1
            ranks = soft_rank(scores, float(strength), regularization)[row]
            np.testing.assert_allclose(ranks, truth, atol=1e-9)


@each_regularization
def test_layer_passes_the_shared_check(regularization, tmp_path):
    scores = cases.scores_of(9).astype("float32")
    layer = SoftRank(0.7, regularization, direction="descending", axis=1)
    check_layer(layer, scores, tmp_path)
    truth = soft_rank(scores, 0.7, regularization, direction="descending")
    np.testing.assert_array_equal(layer(scores), truth)


def test_layer_takes_a_mask_and_any_axis():
    mask, scores = cases.mask_and_scores()
    scores, mask = scores.astype("float32").T, mask.T
    layer = SoftRank(0.7, axis=0)
    np.testing.assert_array_equal(
        layer(scores, mask=mask), soft_rank(scores, 0.7, axis=0, mask=mask)
    )


@pytest.mark.parametrize("strength", [0, -1.0, float("inf"), float("nan"), True, "1", None])
def test_layer_refuses_a_bad_strength(strength):
    with pytest.raises(ValueError, match=r"`strength` must be a positive.*Received: strength="):
        SoftRank(strength)


@pytest.mark.parametrize("name", ["regularization", "direction"])
def test_layer_refuses_what_the_op_refuses(name):
    with pytest.raises(ValueError, match=f"`{name}` must be one of.*Received: {name}='up'"):
        SoftRank(**{name: "up"})


@pytest.mark.slow
@pytest.mark.parametrize("n", [9, 40])
def test_a_saved_model_is_reloaded_and_fine_tuned(n, tmp_path):
    scores, upstream = cases.scores_of(n).astype("float32"), cases.scores_of(n, seed=1)
    model = tf.Module()
    model.scale = tf.Variable(2.0)
    model.ranks = tf.function(
        lambda x: SoftRank(0.7)(model.scale * x), input_signature=[tf.TensorSpec([None, n])]
    )

    def ranks_and_slopes(model):
        with tf.GradientTape() as tape:
            ranks = model.ranks(tf.constant(scores))
            value = tf.reduce_sum(ranks * tf.cast(upstream, tf.float32))
        return ranks, tape.gradient(value, model.scale)

    before = ranks_and_slopes(model)
    tf.saved_model.save(model, str(tmp_path))
    after = ranks_and_slopes(tf.saved_model.load(str(tmp_path)))
    assert abs(before[1]) > 1e-3
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5)


@pytest.mark.slow
def test_replicas_of_a_strategy_take_the_step_of_one_device():
    run_on_two_replicas("""
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(8, 40)).astype("float32"), rng.permuted([range(40)] * 8, axis=1)

        def trained():
            weights = keras.initializers.Identity()
            layers = [keras.layers.Dense(40, kernel_initializer=weights), keras_s2l.SoftRank(0.1)]
            model = keras.Sequential(layers)
            model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
            model.fit(x, y, batch_size=8, epochs=2, verbose=0)
            return model.get_weights()[0]

        alone = trained()
        with strategy.scope():
            together = trained()
        assert np.abs(alone - np.eye(40)).max() > 0.01
        np.testing.assert_allclose(together, alone, atol=1e-5)
    """)


@pytest.mark.slow
@pytest.mark.parametrize("n", [9, 40])
def test_an_exported_keras_model_is_fine_tuned_as_the_model_itself(n, tmp_path):
    x, y = cases.scores_of(n).astype("float32"), cases.scores_of(n, seed=1).astype("float32")
    inputs = keras.Input((n,))
    dense = keras.layers.Dense(n, kernel_initializer="identity")
    model = keras.Model(inputs, SoftRank(0.7)(dense(inputs)))
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("rank", model.__call__, [keras.InputSpec("float32", (None, n))])
    archive.write_out(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))

    def fine_tuned(rank, variables):
        for _ in range(5):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(rank(x) - y))
            for variable, slopes in zip(variables, tape.gradient(loss, variables)):
                variable.assign_sub(0.1 * slopes)
        return np.concatenate([variable.numpy().ravel() for variable in variables])

    ours = fine_tuned(model, [weight.value for weight in model.trainable_variables])
    foreign = fine_tuned(loaded.rank, loaded.trainable_variables)
    assert np.abs(ours[: n * n] - np.eye(n).ravel()).max() > 1e-3
    np.testing.assert_allclose(foreign, ours, atol=1e-5)


def test_a_mask_of_keras_is_heeded_and_not_handed_on():
    order = np.array([[0, 1, -1], [0, 1, 2], [0, -1, -1]])
    scores = keras.Input((3,))
    ranks = SoftRank()(scores, mask=keras.ops.not_equal(scores, 9.0))
    model = keras.Model(scores, ranks)
    model.compile("sgd", loss=lambda order, ranks: keras.ops.sum((ranks - order) ** 2, axis=1))
    x = np.float32([[1, 5, 9], [1, 3, 5], [2, 9, 9]])
    assert model.evaluate(x, order, verbose=0) == pytest.approx(0.0, abs=1e-5)
    masked = SoftRank()(tf.constant(x), mask=tf.constant(x != 9))
    assert getattr(masked, "_keras_mask", None) is None
