"""The SavedModel is TF Hub's reusable one: it gives, and trains as, what was exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model

INPUTS = tf.TensorSpec((None, 5), tf.float32, name="samples")
X = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")


def make_encoder(regularizer=None):
    """With batch normalisation, and a model within a model."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(6, use_bias=False, kernel_regularizer=regularizer)
    inner = keras.Sequential([keras.Input((5,)), dense, keras.layers.BatchNormalization()])
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(3, kernel_regularizer=regularizer)(keras.ops.tanh(inner(inputs)))
    return keras.Model(inputs, outputs)


def written(encoder, folder, further=None):
    saved_model.write(encoder, INPUTS, folder, further)
    return tf.saved_model.load(str(folder))


def test_it_gives_what_the_encoder_gives(tmp_path):
    encoder = make_encoder()
    loaded = written(encoder, tmp_path)
    np.testing.assert_allclose(loaded(X), encoder(X), atol=1e-6)
    served = loaded.signatures["serving_default"](samples=tf.constant(X))
    np.testing.assert_allclose(served["embeddings"], encoder(X), atol=1e-6)


def test_variables_are_listed_each_once(tmp_path):
    loaded = written(make_encoder(), tmp_path)
    shapes = [tuple(variable.shape) for variable in loaded.trainable_variables]
    assert shapes == [(5, 6), (6,), (6,), (6, 3), (3,)]
    assert len(loaded.variables) == 7 and list(loaded.regularization_losses) == []


def test_each_regularization_loss_is_there_once_and_follows_its_variable(tmp_path):
    loaded = written(make_encoder(keras.regularizers.L2(0.1)), tmp_path)
    assert len(loaded.regularization_losses) == 2
    kernels = [variable for variable in loaded.trainable_variables if len(variable.shape) == 2]
    for factor in (1.0, 3.0):
        for kernel, loss in zip(kernels, loaded.regularization_losses, strict=True):
            kernel.assign(factor * tf.ones_like(kernel))
            np.testing.assert_allclose(loss(), 0.1 * factor**2 * kernel.numpy().size, rtol=1e-5)


def test_further_signatures_give_their_layers_and_share_what_they_share(tmp_path):
    encoder = make_encoder()
    first = keras.Model(encoder.inputs[0], encoder.layers[1].output)
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    spec = tf.TensorSpec((None, 5), tf.float32, name="others")
    loaded = written(encoder, tmp_path, {"first": (first, INPUTS), "other": (other, spec)})
    assert set(loaded.signatures) == {"serving_default", "first", "other"}
    for name, layer, given in (("first", first, "samples"), ("other", other, "others")):
        outputs = loaded.signatures[name](**{given: tf.constant(X)})["embeddings"]
        np.testing.assert_allclose(outputs, layer(X), atol=1e-6)
    for variable in loaded.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    outputs = loaded.signatures["first"](samples=tf.constant(X))["embeddings"]
    assert np.abs(outputs).max() == 0  # Its own variables were those of the encoder.
    outputs = loaded.signatures["other"](others=tf.constant(X))["embeddings"]
    assert np.abs(outputs).max() > 0


def test_fine_tuned_after_reloading_it_becomes_what_the_original_becomes(tmp_path):
    encoder = make_encoder()
    loaded = written(encoder, tmp_path)
    random = np.random.default_rng(1)
    batches = random.normal(size=(20, 8, 5)).astype("float32")
    targets = random.normal(size=(20, 8, 3)).astype("float32")
    of_original = [variable.value for variable in encoder.trainable_variables]
    for call, variables in (
        (lambda x: encoder(x, training=True), of_original),
        (lambda x: loaded(x, training=True), list(loaded.trainable_variables)),
    ):
        velocities = [np.zeros(variable.shape, "float32") for variable in variables]
        for x, target in zip(batches, targets):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(call(x) - target))
            for number, gradient in enumerate(tape.gradient(loss, variables)):
                velocities[number] = 0.9 * velocities[number] - 0.05 * gradient.numpy()
                variables[number].assign_add(velocities[number])
    moved = make_encoder().get_weights()
    for one, other, before in zip(encoder.variables, loaded.variables, moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.abs(one.numpy() - before).max() > 1e-3  # Statistics as well.
    np.testing.assert_allclose(encoder(X), loaded(X), atol=1e-5)


def test_an_export_of_a_mixed_model_would_be_seen(tmp_path):
    """What is exported is float32: this is what the signature of anything else looks like."""
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, dtype="mixed_float16")])
    loaded = written(encoder, tmp_path)
    served = loaded.signatures["serving_default"]
    assert served.structured_outputs["embeddings"].dtype == tf.float16
    float32 = written(make_encoder(), tmp_path / "other").signatures["serving_default"]
    assert float32.structured_outputs["embeddings"].dtype == tf.float32


@pytest.mark.parametrize("batch", [1, 5])
def test_any_batch_size_goes(batch, tmp_path):
    assert written(make_encoder(), tmp_path)(X[:batch]).shape == (batch, 3)
