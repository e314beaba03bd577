"""Ranking losses against double loops over pairs, closed forms and Keras' own reductions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_s2l import FenchelYoungRankLoss, SoftRankLoss
from tests import references
from tests.layer_checks import MODES

LOSSES = [FenchelYoungRankLoss, SoftRankLoss]
REFERENCES = {
    FenchelYoungRankLoss: references.fenchel_young_loss,
    SoftRankLoss: references.soft_rank_loss,
}


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


@pytest.mark.parametrize("make", LOSSES)
def test_the_batch_may_be_unknown(make):
    order, scores = _examples()
    signature = [tf.TensorSpec([None, 6], tf.int64), tf.TensorSpec([None, 6], tf.float64)]
    compiled = tf.function(make(), input_signature=signature)
    truth = np.mean([REFERENCES[make](*example, 1.0) for example in zip(order, scores)])
    assert compiled(order, scores).numpy() == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_fenchel_young_gradient_is_perturbed_rank_less_order(sigma):
    order, scores = _examples()
    loss = FenchelYoungRankLoss(sigma, reduction="sum", dtype="float64")
    truth = [references.perturbed_rank(row, sigma) - places for row, places in zip(scores, order)]
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
@pytest.mark.parametrize("make", LOSSES)
def test_order_may_be_of_any_dtype(make, dtype):
    order, scores = _examples()
    truth = np.mean([REFERENCES[make](*example, 1.0) for example in zip(order, scores)])
    assert make()(order.astype(dtype), scores).numpy() == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "sum_over_batch_size", None])
@pytest.mark.parametrize("weights", [None, [2.0, 0.0, 1.0, 0.5, 3.0]])
@pytest.mark.parametrize("make", LOSSES)
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
        SoftRankLoss(0.3, reduction="sum", name="second"),
    ],
)
def test_serialisation_keeps_the_configuration_and_the_value(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert copy.name == loss.name
    assert copy(*_examples()).numpy() == loss(*_examples()).numpy()


@pytest.mark.parametrize("softness", [0, -1.0, float("inf"), float("nan"), True])
@pytest.mark.parametrize("make, name", zip(LOSSES, ["sigma", "strength"]))
def test_a_bad_softness_is_refused(make, name, softness):
    with pytest.raises(ValueError, match=f"`{name}` must be a positive.*Received: {name}="):
        make(softness)


@pytest.mark.parametrize("order_shape", [(2, 4), (2, 1), (2,)])
@pytest.mark.parametrize("make", LOSSES)
def test_an_order_of_another_shape_is_refused(make, order_shape):
    with pytest.raises(ValueError, match=r"`order` must give one original place.*Received"):
        make()(np.zeros(order_shape, "int32"), np.zeros((2, 3)))
