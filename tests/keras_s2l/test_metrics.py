"""Ranking metrics against counting loops, over batches of unequal size."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import ExactOrderAccuracy, PatchAccuracy
from tests import references

METRICS = [PatchAccuracy, ExactOrderAccuracy]


def _examples(num_patches=3, batch=23):
    """Examples of which some are right, some partly, some not at all."""
    random = np.random.RandomState(0)
    order = np.stack([random.permutation(num_patches) for _ in range(batch)])
    return order, order + random.randn(batch, num_patches)


def _each(make, order, scores):
    right = references.right_places(order, scores)
    num_patches = order.shape[1]
    return right / num_patches if make is PatchAccuracy else (right == num_patches) * 1.0


@pytest.mark.parametrize("num_patches", [1, 2, 5])
@pytest.mark.parametrize("make", METRICS)
def test_matches_the_counting_loop(make, num_patches):
    order, scores = _examples(num_patches)
    truth = _each(make, order, scores).mean()
    assert num_patches == 1 or 0 < truth < 1
    assert make()(order, scores).numpy() == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("batch", [5, 22, 100])
@pytest.mark.parametrize("make", METRICS)
def test_streaming_over_unequal_batches_is_the_mean_over_examples(make, batch):
    order, scores = _examples()
    metric = make()
    for start in range(0, len(order), batch):
        metric.update_state(order[start : start + batch], scores[start : start + batch])
    assert metric.result().numpy() == pytest.approx(_each(make, order, scores).mean(), rel=1e-6)


@pytest.mark.parametrize("make", METRICS)
def test_sample_weights_weigh_the_examples(make):
    order, scores = _examples()
    weights = np.random.RandomState(1).rand(len(order))
    metric = make()
    for part in (slice(0, 16), slice(16, None)):
        metric.update_state(order[part], scores[part], sample_weight=weights[part])
    truth = np.average(_each(make, order, scores), weights=weights)
    assert metric.result().numpy() == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("make", METRICS)
def test_reset_state_forgets_what_came_before(make):
    metric = make()
    metric.update_state([[0, 1, 2]], [[1.0, 2.0, 3.0]])
    metric.reset_state()
    assert metric.result().numpy() == 0.0
    metric.update_state([[0, 1, 2]], [[2.0, 3.0, 1.0]])
    assert metric.result().numpy() == 0.0


def test_examples_of_the_docstrings():
    order = np.array([[0, 1, 2]])
    partly = PatchAccuracy()(order, np.array([[2.0, 1.0, 3.0]]))
    assert partly.numpy() == pytest.approx(1 / 3)
    assert ExactOrderAccuracy()(order, np.array([[1.0, 2.0, 3.0]])).numpy() == 1.0
    assert ExactOrderAccuracy()(order, np.array([[2.0, 1.0, 3.0]])).numpy() == 0.0


def test_chance_is_one_in_the_number_of_patches():
    random = np.random.RandomState(0)
    order = np.argsort(random.rand(20000, 4), axis=1)
    share = PatchAccuracy()(order, random.rand(20000, 4)).numpy()
    assert share == pytest.approx(1 / 4, abs=4 * np.sqrt(1 / (4 * 20000)))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("make", METRICS)
def test_works_compiled_with_an_unknown_batch(make, jit):
    metric = make()
    signature = [tf.TensorSpec([None, 3], tf.int32), tf.TensorSpec([None, 3], tf.float32)]
    update = tf.function(metric.update_state, input_signature=signature, jit_compile=jit)
    order, scores = _examples()
    for part in (slice(0, 16), slice(16, None)):
        update(order[part].astype("int32"), scores[part].astype("float32"))
    assert metric.result().numpy() == pytest.approx(_each(make, order, scores).mean(), rel=1e-6)


@pytest.mark.parametrize("make, name", zip(METRICS, ["patch_accuracy", "exact_order_accuracy"]))
def test_config_round_trip(make, name):
    assert make().name == name
    metric = make(name="mine", dtype="float64")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is make
    assert (copy.name, copy.dtype) == ("mine", "float64")
    assert copy(*_examples()).numpy() == metric(*_examples()).numpy()
