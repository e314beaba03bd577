"""Ranking losses against double loops over pairs, closed forms and Keras' own reductions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from keras_s2l import (
    FenchelYoungRankLoss,
    PermutationCrossEntropy,
    ScoreMeanSquaredError,
    SoftRankLoss,
    perturbed_rank,
)
from tests import references
from tests.layer_checks import MODES


def _gumbel(sigma=1.0, **kwargs):
    return FenchelYoungRankLoss(sigma, "gumbel", **kwargs)


def _sampled(**kwargs):
    return FenchelYoungRankLoss(num_samples=2, seed=0, **kwargs)


def _kl(strength=1.0, **kwargs):
    return SoftRankLoss(strength, "kl", **kwargs)


def _kl_loss(order, row, strength):
    return 0.5 * np.sum((references.pooled_ranks(row, strength, "kl")[0] - order) ** 2)


def _squared_error(order, row, _):
    return np.mean((row - order) ** 2)


LOSSES = [FenchelYoungRankLoss, _gumbel, SoftRankLoss, _kl]
REFERENCES = {
    FenchelYoungRankLoss: references.fenchel_young_loss,
    _gumbel: references.ranknet_loss,
    SoftRankLoss: references.soft_rank_loss,
    _kl: _kl_loss,
    ScoreMeanSquaredError: _squared_error,
}
LABEL_LOSSES = [FenchelYoungRankLoss, SoftRankLoss, ScoreMeanSquaredError]
PERMUTATIONS = [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]]


def _examples(num_patches=6, batch=5):
    random = np.random.RandomState(0)
    order = np.stack([random.permutation(num_patches) for _ in range(batch)])
    return order, random.randn(batch, num_patches)


def _gradient(loss, order, scores):
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(order, scores)
    return tape.gradient(value, scores)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_patches", [1, 2, 6])
@pytest.mark.parametrize("softness", [0.3, 2.0])
@pytest.mark.parametrize("make", LOSSES)
def test_each_example_matches_the_double_loop(make, softness, num_patches, mode):
    order, scores = _examples(num_patches)
    loss = make(softness, reduction=None, dtype="float64")
    if mode != "eager":
        loss = tf.function(loss, jit_compile=mode == "xla")
    truth = [REFERENCES[make](*example, softness) for example in zip(order, scores)]
    np.testing.assert_allclose(loss(tf.constant(order), tf.constant(scores)), truth, atol=1e-9)


@pytest.mark.parametrize("make", REFERENCES)
@pytest.mark.parametrize("jit", [False, True])
def test_the_batch_may_be_unknown(make, jit):
    order, scores = _examples()
    signature = [tf.TensorSpec([None, 6], tf.int64), tf.TensorSpec([None, 6], tf.float64)]
    compiled = tf.function(make(), input_signature=signature, jit_compile=jit)
    truth = np.mean([REFERENCES[make](*example, 1.0) for example in zip(order, scores)])
    assert compiled(order, scores).numpy() == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_fenchel_young_gradient_is_perturbed_rank_less_order(noise, sigma):
    order, scores = _examples()
    loss = FenchelYoungRankLoss(sigma, noise, reduction="sum", dtype="float64")
    reference = {
        "normal": references.perturbed_rank,
        "gumbel": references.perturbed_rank_gumbel,
    }[noise]
    truth = [reference(row, sigma) - places for row, places in zip(scores, order)]
    np.testing.assert_allclose(_gradient(loss, order, scores), truth, atol=1e-9)


@pytest.mark.parametrize("make", LOSSES)
def test_gradient_matches_finite_differences(make):
    order, scores = _examples()
    loss = make(2.0, reduction=None, dtype="float64")
    exact, numeric = tf.test.compute_gradient(
        lambda scores: loss(order, scores), [tf.constant(scores)], delta=1e-6
    )
    assert np.abs(numeric[0]).max() > 1e-2
    np.testing.assert_allclose(exact[0], numeric[0], atol=1e-6)


@pytest.mark.parametrize("margin", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_fenchel_young_loss_of_two_patches_in_closed_form(margin):
    sigma = 0.7
    scale = np.sqrt(2) * sigma
    truth = scale * stats.norm.pdf(margin / scale) - margin * stats.norm.sf(margin / scale)
    loss = FenchelYoungRankLoss(sigma, dtype="float64")
    assert loss([[0, 1]], np.array([[0.0, margin]])).numpy() == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("margin", [-9.0, -1.0, 0.0, 1.0, 9.0])
def test_soft_rank_loss_of_two_patches_in_closed_form(margin):
    strength = 2.0
    upper = np.clip(0.5 + margin / (2 * strength), 0.0, 1.0)
    loss = SoftRankLoss(strength, dtype="float64")
    assert loss([[0, 1]], np.array([[0.0, margin]])).numpy() == pytest.approx((1 - upper) ** 2)


def test_fenchel_young_loss_of_the_docstring():
    order = np.array([[0, 1, 2]])
    loss = FenchelYoungRankLoss()
    assert loss(order, np.array([[-9.0, 0.0, 9.0]])).numpy() == pytest.approx(0.0, abs=1e-6)
    assert loss(order, np.array([[9.0, 0.0, -9.0]])).numpy() == pytest.approx(36.0, abs=1e-4)


def test_soft_rank_loss_of_the_docstring():
    assert SoftRankLoss()(np.array([[0, 1, 2]]), np.array([[1.0, 2.0, 9.0]])).numpy() == 0.0


def test_fenchel_young_loss_is_convex_in_the_scores():
    order, left = _examples(batch=50)
    right = 3 * np.random.RandomState(1).randn(*left.shape)
    loss = FenchelYoungRankLoss(reduction=None, dtype="float64")
    ends = (loss(order, left) + loss(order, right)) / 2
    assert (loss(order, (left + right) / 2) < ends).numpy().all()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32", "float64"])
@pytest.mark.parametrize("make", REFERENCES)
def test_order_may_be_of_any_dtype(make, dtype):
    order, scores = _examples()
    truth = np.mean([REFERENCES[make](*example, 1.0) for example in zip(order, scores)])
    assert make()(order.astype(dtype), scores).numpy() == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "sum_over_batch_size", None])
@pytest.mark.parametrize("weights", [None, [2.0, 0.0, 1.0, 0.5, 3.0]])
@pytest.mark.parametrize("make", REFERENCES)
def test_reduction_and_sample_weight_work_as_in_keras(make, weights, reduction):
    order, scores = _examples()
    each = np.array([REFERENCES[make](*example, 1.0) for example in zip(order, scores)])
    each = each * np.array(1.0 if weights is None else weights)
    truth = {"sum": each.sum(), None: each}.get(reduction, each.mean())
    value = make(reduction=reduction)(order, scores, sample_weight=weights)
    np.testing.assert_allclose(value, truth, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        FenchelYoungRankLoss(0.3, reduction="sum", name="first"),
        FenchelYoungRankLoss(0.3, "gumbel", num_samples=3, seed=7),
        SoftRankLoss(0.3, "kl", reduction="sum", name="second"),
        ScoreMeanSquaredError(reduction=None, name="third"),
    ],
)
def test_serialisation_keeps_the_configuration_and_the_value(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert copy.name == loss.name
    np.testing.assert_array_equal(copy(*_examples()), loss(*_examples()))


@pytest.mark.parametrize("softness", [0, -1.0, float("inf"), float("nan"), True])
@pytest.mark.parametrize(
    "make, name", [(FenchelYoungRankLoss, "sigma"), (SoftRankLoss, "strength")]
)
def test_a_bad_softness_is_refused(make, name, softness):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive.*Received: {name}="):
        make(softness)


@pytest.mark.parametrize("order_shape", [(2, 4), (2, 1), (2,)])
@pytest.mark.parametrize("make", LABEL_LOSSES)
def test_an_order_of_another_shape_is_refused(make, order_shape):
    with pytest.raises(ValueError, match=r"`order` must give one rank for each score.*Received"):
        make()(np.zeros(order_shape, "int32"), np.zeros((2, 3)))


@pytest.mark.parametrize(
    "row, mistake",
    [
        ([1, 2, 3], "1-based"),
        ([0, 0, 1], "repeated"),
        ([0, 1, 3], "out of the range"),
        ([0.5, 1.0, 2.0], "whole numbers"),
        ([0, 1, -2], "other negative"),
    ],
)
@pytest.mark.parametrize("make", LABEL_LOSSES)
def test_a_label_that_is_no_permutation_is_refused_where_it_can_be_seen(make, row, mistake):
    with pytest.raises(ValueError, match=rf"`order` must hold.*{mistake}.*Received: row 1"):
        make()(np.array([[0, 1, 2], row]), np.zeros((2, 3)))


WRONG = [[1, 2, 3], [0, 0, 1], [0, 5, 9], [0.5, 1, 2], [0, 1, -2], [0, -1, 2], [3, 1, 0]]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("make", [*LABEL_LOSSES, _sampled])
def test_a_label_that_is_no_permutation_trains_nothing_in_a_compiled_step(make, jit_compile):
    right = [[2, 0, 1], [1, -1, 0], [-1, -1, -1]]
    order = tf.constant(right + WRONG, "float32")
    scores = tf.constant(0.1 * np.random.RandomState(0).randn(len(order), 3), "float32")
    loss = make(reduction=None)

    @tf.function(jit_compile=jit_compile)
    def step(order, scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            values = loss(order, scores)
        return values, tape.gradient(values, scores)

    values, gradient = step(order, scores)
    assert np.isfinite(values[:3]).all() and np.isnan(values[3:]).all()
    assert np.isfinite(gradient).all() and not np.any(gradient[3:])
    assert np.any(gradient[:2])


def test_of_right_labels_a_tool_that_looks_for_nan_finds_none():
    order, scores = _examples()
    compiled = tf.function(FenchelYoungRankLoss())
    tf.debugging.enable_check_numerics()
    try:
        assert np.isfinite(compiled(tf.constant(order), tf.constant(scores)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
            compiled(tf.constant(order + 1), tf.constant(scores))
    finally:
        tf.debugging.disable_check_numerics()


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 0.0]])
def test_a_weight_of_zero_does_not_hide_a_wrong_label_but_absent_slots_do(weights):
    scores = tf.constant([[0.0, 1.0], [2.0, 1.0]])
    compiled = tf.function(FenchelYoungRankLoss())
    assert np.isnan(compiled(tf.constant([[0, 1], [0, 0]]), scores, tf.constant(weights)))
    assert np.isfinite(compiled(tf.constant([[0, 1], [-1, -1]]), scores, tf.constant(weights)))


@pytest.mark.parametrize("name", ["regularization", "noise"])
def test_an_unknown_regularization_or_noise_is_refused(name):
    make = SoftRankLoss if name == "regularization" else FenchelYoungRankLoss
    with pytest.raises(ValueError, match=f"`{name}` must be one of.*Received: {name}='up'"):
        make(**{name: "up"})


@pytest.mark.parametrize("num_samples", [0, -1, 1.5, True])
def test_a_bad_number_of_draws_is_refused(num_samples):
    with pytest.raises(ValueError, match=r"`num_samples` must be a positive.*Received"):
        FenchelYoungRankLoss(num_samples=num_samples)


def _uneven_examples():
    """Rows of every length, in slots anywhere; the scores of absent slots are NaN."""
    random = np.random.RandomState(0)
    order = np.full((7, 6), -1)
    for length in range(7):
        order[length, random.permutation(6)[:length]] = random.permutation(length)
    return order, np.where(order < 0, np.nan, random.randn(7, 6))


@pytest.mark.parametrize("make", REFERENCES)
def test_rows_with_absent_slots_have_the_loss_and_the_gradient_of_the_shorter_row(make):
    order, scores = _uneven_examples()
    loss = make(reduction=None, dtype="float64")
    values, gradient = loss(order, scores).numpy(), _gradient(loss, order, scores).numpy()
    assert values[0] == 0.0
    assert (gradient[order < 0] == 0).all()
    for row in range(1, 7):
        real = order[row] >= 0
        short = order[row : row + 1, real], scores[row : row + 1, real]
        truth = REFERENCES[make](short[0][0], short[1][0], 1.0)
        assert values[row] == pytest.approx(truth, abs=1e-9)
        if row == 4:  # Each length is a compilation.
            truth = _gradient(loss, *short)[0]
            np.testing.assert_allclose(gradient[row, real], truth, atol=1e-9)


@pytest.mark.parametrize("make", REFERENCES)
def test_the_loss_is_never_negative_and_has_the_dtype_of_the_scores(make):
    order, scores = _examples()
    for dtype in ("float16", "bfloat16", "float32"):
        values = make(reduction=None, dtype=dtype)(order, tf.cast(scores * 9, dtype))
        assert values.dtype == dtype
        assert (tf.cast(values, "float32").numpy() >= 0).all()


@pytest.mark.parametrize("make", LOSSES)
def test_the_loss_of_a_confident_right_order_is_zero_and_of_a_wrong_one_is_not(make):
    order, _ = _examples()
    loss = make(reduction=None)
    spread = (order * np.float32(100.0)).astype("float32")
    open_ended = np.where(order == 0, -np.inf, np.where(order == 5, np.inf, spread))
    for scores in (spread, spread * 1e4, spread * np.float32(1e28), open_ended):
        np.testing.assert_allclose(loss(order, scores), np.zeros(5), atol=1e-4)
        assert (loss(order, -scores).numpy() > 1).all()
        assert np.isfinite(_gradient(loss, order, scores)).all()


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_drawn_fenchel_young_losses_have_the_expected_value_and_gradient(noise):
    order, scores = (np.tile(x[:1], (200, 1)) for x in _examples())
    drawn = FenchelYoungRankLoss(0.7, noise, 20, seed=3, reduction=None, dtype="float64")
    closed = FenchelYoungRankLoss(0.7, noise, reduction=None, dtype="float64")
    values = drawn(order, scores).numpy()
    assert (values >= 0).all()
    assert np.any(values != drawn(order, scores).numpy())
    gradients = _gradient(drawn, order, scores).numpy()
    truth = perturbed_rank(scores[:1], 0.7, noise).numpy()[0] - order[0]
    for estimates, mean in ((gradients, truth), (values, closed(order, scores).numpy()[0])):
        standard_error = estimates.std(axis=0) / np.sqrt(200)
        assert np.all(np.abs(estimates.mean(axis=0) - mean) < 4.5 * standard_error + 1e-9)


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_drawn_fenchel_young_losses_leave_absent_slots_out(noise):
    order, scores = _uneven_examples()
    loss = FenchelYoungRankLoss(1.0, noise, 20, seed=3, reduction=None)
    values = loss(order, scores).numpy()
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[:2], [0.0, 0.0])
    gradient = _gradient(loss, order, scores).numpy()
    np.testing.assert_array_equal(gradient[order < 0], 0.0)
    np.testing.assert_allclose(gradient.sum(axis=1), np.zeros(7), atol=1e-5)


def test_squared_error_of_the_docstring():
    loss = ScoreMeanSquaredError()
    assert loss(np.array([[0, 1, 2]]), np.array([[0.0, 1.0, 5.0]])).numpy() == 3.0


@pytest.mark.parametrize("jit", [None, False, True])
def test_cross_entropy_is_minus_the_log_probability_of_the_permutation(jit):
    logits = np.random.RandomState(0).randn(5, 4)
    classes = np.array([3, 0, 1, 2, 3])
    order = np.array(PERMUTATIONS)[classes]
    loss = PermutationCrossEntropy(PERMUTATIONS, reduction=None, dtype="float64")
    call = loss if jit is None else tf.function(loss, jit_compile=jit)
    truth = -special.log_softmax(logits, axis=1)[np.arange(5), classes]
    np.testing.assert_allclose(call(tf.constant(order), tf.constant(logits)), truth, atol=1e-12)
    chances = special.softmax(logits, axis=1) - np.eye(4)[classes]
    np.testing.assert_allclose(_gradient(loss, order, logits), chances, atol=1e-12)


def test_cross_entropy_of_the_docstring():
    loss = PermutationCrossEntropy([[0, 1], [1, 0]])
    value = loss(np.array([[1, 0]]), np.array([[0.0, 0.0]]))
    assert value.numpy() == pytest.approx(np.log(2))


def test_an_order_outside_the_set_has_no_cross_entropy():
    loss = PermutationCrossEntropy(PERMUTATIONS, reduction=None)
    values = loss(np.array([[0, 2, 1], [0, 1, 2]]), np.zeros((2, 4)))
    np.testing.assert_allclose(values, [np.nan, np.log(4)], rtol=1e-6)


@pytest.mark.parametrize(
    "permutations",
    [[0, 1, 2], [[0, 1], [1, 2]], [[0, 0], [1, 0]], [[1, 2], [2, 1]], [[0, 1], [0, 1]]],
)
def test_a_set_that_is_not_of_distinct_permutations_is_refused(permutations):
    with pytest.raises(ValueError, match="`permutations` must be"):
        PermutationCrossEntropy(permutations)


@pytest.mark.parametrize(
    "order_shape, logits_shape",
    [((2, 4), (2, 4)), ((2, 3), (2, 3)), ((1, 3), (2, 4)), ((3,), (2, 4)), ((2, 3), ())],
)
def test_logits_that_do_not_fit_the_set_are_refused(order_shape, logits_shape):
    with pytest.raises(ValueError, match=r"`order` must have shape \(batch, 3\).*Received"):
        PermutationCrossEntropy(PERMUTATIONS)(np.zeros(order_shape, int), np.zeros(logits_shape))


def test_cross_entropy_keeps_its_permutations():
    loss = PermutationCrossEntropy(PERMUTATIONS, name="mine")
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config() and copy.name == "mine"
    np.testing.assert_array_equal(copy.permutations, PERMUTATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "loss",
    [
        FenchelYoungRankLoss(),
        FenchelYoungRankLoss(noise="gumbel", num_samples=4, seed=0),
        SoftRankLoss(3.0),
        SoftRankLoss(3.0, "kl"),
        ScoreMeanSquaredError(),
        PermutationCrossEntropy(PERMUTATIONS),
    ],
    ids=["fenchel_young", "drawn", "soft_rank", "kl", "squared_error", "cross_entropy"],
)
def test_a_model_learns_with_it_also_from_a_short_last_batch(loss, jit):
    random = np.random.RandomState(0)
    order = np.array(PERMUTATIONS)[random.randint(0, 4, 22)]
    inputs = np.eye(3)[order].reshape(22, 9).astype("float32")
    outputs = 4 if isinstance(loss, PermutationCrossEntropy) else 3
    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(outputs)])
    model.compile(keras.optimizers.Adam(0.1), loss, jit_compile=jit)
    losses = model.fit(inputs, order, batch_size=8, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_fenchel_young_gradient_points_the_right_way_however_wrong_the_scores_are(noise):
    order, _ = _examples()
    loss = FenchelYoungRankLoss(noise=noise, reduction="sum")
    for scale in (1e3, 1e6, 1e12, 1e30):
        scores = (-scale * order).astype("float32")
        truth = 5 - 2.0 * order  # The reversed ranks less the order.
        np.testing.assert_allclose(_gradient(loss, order, scores), truth, atol=1e-5)


def test_draws_that_are_given_are_the_noise():
    random = np.random.default_rng(0)
    order = np.stack([random.permutation(5) for _ in range(3)])
    scores = random.normal(size=(3, 5))
    draws = random.normal(size=(3, 7, 5))
    loss = FenchelYoungRankLoss(0.5, num_samples=7, reduction=None, dtype="float64")
    expected = np.zeros(3)
    for b in range(3):
        for draw in draws[b]:
            perturbed = scores[b] + 0.5 * draw
            ranks = stats.rankdata(perturbed, method="ordinal") - 1
            expected[b] += perturbed @ (ranks - order[b]) / 7
    with loss.using(draws):
        with loss.using(2 * draws):
            assert (np.abs(loss(order, scores) - expected) > 1e-6).any()
        np.testing.assert_allclose(loss(order, scores), expected, rtol=1e-10)
    other = loss(order, scores)  # Its own again.
    assert (np.abs(other - expected) > 1e-6).all()
    closed_form = FenchelYoungRankLoss()
    for given, wrong in [(closed_form, draws), (loss, draws[:, :6]), (loss, draws[0])]:
        message = r"shape \(batch, num_samples, n\), for a loss that samples"
        with pytest.raises(ValueError, match=message), given.using(wrong):
            pass
