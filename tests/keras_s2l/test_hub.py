"""A SavedModel as a Keras 3 layer: it trains, freezes and saves, and shares its variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model
from keras_s2l import HubEncoder, LogSpectrogram, ShuffleToLearn, WaveformEncoder, note_backbone

WAVEFORMS = np.random.default_rng(0).uniform(-1, 1, (6, 1500)).astype("float32")


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    frontend = LogSpectrogram(num_mel_bins=8)
    model = ShuffleToLearn(note_backbone((4, 6, 8)), num_patches=4, axis="frequency")
    model.build(frontend.compute_output_shape((None, 1000)))
    encoder = WaveformEncoder(frontend, model.encoder, 1000)
    encoder.build((None, None))
    return encoder


@pytest.fixture(scope="module")
def handle(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "export"
    inputs = tf.TensorSpec((None, None), tf.float32, name="waveforms")
    saved_model.write(encoder, inputs, folder)
    return str(folder)


def classifier(encoder):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([encoder, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    return model


def test_it_gives_what_the_exported_encoder_gives(encoder, handle):
    np.testing.assert_allclose(HubEncoder(handle)(WAVEFORMS), encoder(WAVEFORMS), atol=1e-5)


def test_variables_are_shared_with_the_graph_not_copied(handle):
    layer = HubEncoder(handle)
    before = layer(WAVEFORMS).numpy()
    assert len(layer.trainable_variables) == 9
    for variable in layer.trainable_variables:
        variable.assign(variable * 1.5 + 0.1)
    assert np.abs(layer(WAVEFORMS).numpy() - before).max() > 1e-2


def test_trainable_it_moves_in_fit_batch_statistics_too(handle):
    layer = HubEncoder(handle, trainable=True)
    before = [variable.numpy() for variable in layer.variables]
    classifier(layer).fit(WAVEFORMS, np.ones((6, 2)), epochs=2, verbose=0)
    moved = [np.any(old != new.numpy()) for old, new in zip(before, layer.variables, strict=True)]
    assert all(moved)


def test_frozen_it_stays_bit_for_bit_and_counts_as_frozen(handle):
    layer = HubEncoder(handle, trainable=False)
    before = [variable.numpy() for variable in layer.variables]
    model = classifier(layer)
    model.fit(WAVEFORMS, np.ones((6, 2)), epochs=2, verbose=0)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert layer.trainable_variables == [] and len(model.trainable_variables) == 2


def test_the_graph_that_was_saved_has_the_gradients_of_the_original(encoder, handle):
    gradients = []
    for layer in (encoder, HubEncoder(handle)):
        with tf.GradientTape() as tape:
            # Not in training, which would move the statistics of the original.
            loss = tf.reduce_mean(tf.square(layer(WAVEFORMS, training=False)))
        variables = [variable.value for variable in layer.trainable_variables]
        gradients.append(tape.gradient(loss, variables))
    assert len(gradients[0]) == 9
    for original, reloaded in zip(*gradients, strict=True):
        assert np.any(original.numpy() != 0)
        np.testing.assert_allclose(original, reloaded, rtol=1e-4, atol=1e-7)


def test_saved_in_a_keras_file_its_weights_come_back(handle, tmp_path):
    model = classifier(HubEncoder(handle))
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(WAVEFORMS), model(WAVEFORMS), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_the_graph_stays_in_float32(encoder, handle, dtype):
    embeddings = HubEncoder(handle, dtype=dtype)(WAVEFORMS)
    assert embeddings.dtype == tf.as_dtype(dtype.removeprefix("mixed_"))
    np.testing.assert_allclose(
        tf.cast(embeddings, "float32"), encoder(WAVEFORMS), rtol=2e-2, atol=2e-2
    )


def test_functional_models_of_inputs_of_unknown_length(handle):
    inputs = keras.Input((None,))
    model = keras.Model(inputs, HubEncoder(handle)(inputs))
    assert model.predict(WAVEFORMS[:, :700], verbose=0).shape == (6, 4 * 18)


def test_a_tf_keras_user_can_train_it_with_tf_hub(handle):
    import tensorflow_hub
    import tf_keras

    layer = tensorflow_hub.KerasLayer(handle, trainable=True)
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.build((None, 1500))
    before = [weight.numpy() for weight in layer.trainable_weights]
    model.fit(WAVEFORMS, np.ones((6, 2)), verbose=0)
    assert len(before) == 9
    assert all(
        np.any(old != new.numpy()) for old, new in zip(before, layer.trainable_weights, strict=True)
    )


@pytest.mark.parametrize("make", [None, "empty", "uncallable"])
def test_what_is_no_reusable_saved_model_is_refused(make, tmp_path):
    folder = tmp_path / "model"
    if make == "empty":
        folder.mkdir()
    if make == "uncallable":
        tf.saved_model.save(tf.train.Checkpoint(v=tf.Variable(1.0)), str(folder))
    with pytest.raises(ValueError, match="`handle` must be"):
        HubEncoder(folder)
