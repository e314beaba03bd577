"""Averages become the means over batches, by a slow loop, and nothing else changes."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_s2l
from keras_s2l import FusedBatchNormalization, PreciseBatchStatistics
from keras_s2l.precise_statistics import take_statistics

X = np.random.default_rng(0).normal(2.0, 3.0, (48, 6)).astype("float32")
Y = X[:, :1] - X[:, 1:2]
BATCHES = np.split(X[:40], 5)


def model_of(normalization):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, name="first"),
            normalization(name="one"),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(3, name="second"),
            normalization(name="other", momentum=0.7),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model


def averages(model, name):
    layer = model.get_layer(name)
    return [np.array(layer.moving_mean), np.array(layer.moving_variance)]


@pytest.mark.parametrize(
    "normalization", [keras.layers.BatchNormalization, FusedBatchNormalization]
)
def test_averages_are_means_over_batches(normalization):
    model = model_of(normalization)
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    kernel, bias = (weight.numpy() for weight in model.get_layer("first").weights)
    take_statistics(model, BATCHES)
    outputs = [batch.astype("float64") @ kernel + bias for batch in BATCHES]
    mean, variance = averages(model, "one")
    np.testing.assert_allclose(mean, np.mean([o.mean(axis=0) for o in outputs], axis=0), rtol=1e-4)
    expected = np.mean([o.var(axis=0) for o in outputs], axis=0)
    np.testing.assert_allclose(variance, expected, rtol=1e-4)
    assert [model.get_layer(name).momentum for name in ("one", "other")] == [0.99, 0.7]


def test_fit_takes_them_before_each_evaluation_and_at_the_end_and_trains_the_same():
    plain, precise = model_of(FusedBatchNormalization), model_of(FusedBatchNormalization)
    precise.set_weights(plain.get_weights())
    calls = []

    def batches():
        calls.append(int(precise.optimizer.iterations.numpy()))
        return BATCHES

    settings = {"epochs": 3, "batch_size": 8, "shuffle": False, "verbose": 0}
    settings["validation_data"] = (X, Y)
    plain.fit(X, Y, **settings)
    history = precise.fit(X, Y, callbacks=[PreciseBatchStatistics(batches)], **settings)
    assert calls == [6, 12, 18]  # The end has what the last evaluation had.
    for one, other in zip(plain.trainable_weights, precise.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    before = averages(precise, "other")
    take_statistics(precise, BATCHES)
    np.testing.assert_allclose(averages(precise, "other"), before, rtol=1e-6)
    # What was measured is what the model is worth now.
    loss = precise.evaluate(X, Y, verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(loss, rel=1e-5)
    precise.fit(X, Y, epochs=1, verbose=0, callbacks=[PreciseBatchStatistics(batches)])
    assert len(calls) == 4  # Without an evaluation too.


def test_frozen_layers_and_models_without_any_stay():
    model = model_of(keras.layers.BatchNormalization)
    model.get_layer("one").trainable = False
    before = averages(model, "one")
    take_statistics(model, BATCHES)
    np.testing.assert_array_equal(averages(model, "one"), before)
    assert not np.allclose(averages(model, "other")[0], 0.0)
    take_statistics(keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)]), BATCHES)


def test_no_batches_are_refused_and_change_nothing():
    model = model_of(keras.layers.BatchNormalization)
    before = averages(model, "one")
    with pytest.raises(ValueError, match="must give batches of inputs"):
        take_statistics(model, [])
    np.testing.assert_array_equal(averages(model, "one"), before)


def test_a_shuffling_model_is_worth_as_much_evaluated_as_in_training():
    """Its statistics of the last batch alone, or of long ago, would be other ones."""
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 8, 6, 1)).astype("float32") + np.arange(6)[:, None]
    model = keras_s2l.ShuffleToLearn(
        keras_s2l.note_backbone((4, 8)), num_patches=3, axis="frequency", seed=0
    )
    model.compile("adam", jit_compile=False)
    batches = np.split(x, 4)
    model.fit(x, batch_size=16, verbose=0, callbacks=[PreciseBatchStatistics(lambda: batches)])
    scores = [model(x, training=training).numpy() for training in (False, True)]
    np.testing.assert_allclose(*scores, rtol=0.1, atol=0.1)


ON_JAX = """
import keras, numpy as np
from keras_s2l import FusedBatchNormalization, PreciseBatchStatistics
x = np.random.default_rng(0).normal(2.0, 3.0, (48, 6)).astype("float32")
dense, normalization = keras.layers.Dense(4), FusedBatchNormalization()
model = keras.Sequential([keras.Input((6,)), dense, normalization, keras.layers.Dense(1)])
model.compile("adam", "mse")
precise = PreciseBatchStatistics(lambda: np.split(x, 6))
model.fit(x, x[:, :1], validation_data=(x, x[:, :1]), callbacks=[precise], epochs=2, verbose=0)
kernel, bias = map(keras.ops.convert_to_numpy, dense.weights)
means = [(batch @ kernel + bias).mean(axis=0) for batch in np.split(x, 6)]
average = keras.ops.convert_to_numpy(normalization.moving_mean)
np.testing.assert_allclose(average, np.mean(means, axis=0), rtol=1e-4, atol=1e-5)
"""


def test_on_jax_fit_takes_them_too():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", ON_JAX], env=environment, check=True)


def test_a_callback_serves_one_model_after_the_other():
    precise = PreciseBatchStatistics(lambda: BATCHES)
    for _ in range(2):
        model = model_of(FusedBatchNormalization)
        model.fit(X, Y, epochs=1, batch_size=8, verbose=0, callbacks=[precise])
        kernel, bias = (weight.numpy() for weight in model.get_layer("first").weights)
        means = [(batch @ kernel + bias).mean(axis=0) for batch in BATCHES]
        np.testing.assert_allclose(averages(model, "one")[0], np.mean(means, axis=0), rtol=1e-3)


def test_batches_that_end_in_an_error_leave_the_averages_as_they_were():
    model = model_of(FusedBatchNormalization)
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    before = [np.array(weight) for weight in model.weights]

    def batches():
        yield BATCHES[0]
        raise OSError("The disk is gone.")

    with pytest.raises(OSError):
        take_statistics(model, batches())
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
