"""The fused batch normalisation is the one of Keras, in every mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import FusedBatchNormalization

SHAPES = [(5, 3), (4, 6, 3), (4, 7, 5, 3), (2, 3, 4, 5, 3), (1, 1, 1, 2)]


def inputs(shape, dtype="float32"):
    return np.random.default_rng(0).normal(3.0, 2.0, shape).astype(dtype)


def layers(**settings):
    """Ours, and the one of Keras with the same weights."""
    both = FusedBatchNormalization(**settings), keras.layers.BatchNormalization(**settings)
    for layer in both:
        layer.build((None, 7, 5, 3))
        random = np.random.default_rng(1)
        layer.set_weights([random.uniform(0.5, 2.0, w.shape) for w in layer.weights])
    return both


def step(layer, x, **call):
    """Outputs, the gradients by input and weights, and the moving averages after it."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True, **call)
        upstream = np.random.default_rng(2).normal(size=outputs.shape)
        loss = tf.reduce_sum(tf.cast(outputs, "float64") * upstream)
    weights = [weight.value for weight in layer.trainable_weights]
    return [outputs, *tape.gradient(loss, [x, *weights]), *layer.non_trainable_weights]


def operations(layer, x, training=True):
    graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(x).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_gradients_and_averages_in_closed_form(shape):
    layer, x = FusedBatchNormalization(momentum=0.9, epsilon=1e-2), inputs(shape)
    layer.build(shape)
    gamma, beta, average, moving_variance = np.random.default_rng(1).uniform(
        0.5, 2.0, (4, shape[-1])
    )
    layer.set_weights([gamma, beta, average, moving_variance])
    flat = x.astype("float64").reshape(-1, shape[-1])
    mean, variance = flat.mean(axis=0), flat.var(axis=0)
    unit = (flat - mean) / np.sqrt(variance + 1e-2)
    upstream = np.random.default_rng(2).normal(size=shape).reshape(flat.shape)
    along = upstream - upstream.mean(axis=0) - unit * (upstream * unit).mean(axis=0)
    expected = [
        (unit * gamma + beta).reshape(shape),
        (gamma / np.sqrt(variance + 1e-2) * along).reshape(shape),
        (upstream * unit).sum(axis=0),
        upstream.sum(axis=0),
        0.9 * average + 0.1 * mean,
        0.9 * moving_variance + 0.1 * variance,
    ]
    for found, of_closed_form in zip(step(layer, x), expected, strict=True):
        np.testing.assert_allclose(found, of_closed_form, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.5, "epsilon": 0.1},
        {"axis": 1},
        {"axis": 3},
        {"center": False},
        {"scale": False},
        {"renorm": True},
        {"dtype": "float64"},
        {"dtype": "mixed_bfloat16"},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_a_step_is_that_of_keras(settings):
    ours, of_keras = layers(**settings)
    x = inputs((4, 7, 5, 3), "float64" if settings.get("dtype") == "float64" else "float32")
    half = str(settings.get("dtype")).startswith("mixed")
    for found, expected in zip(step(ours, x), step(of_keras, x), strict=True):
        assert found.dtype == expected.dtype
        found, expected = (np.asarray(value).astype("float64") for value in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=0.02 if half else 1e-4, atol=2e-4)
    assert ours.compute_output_shape(x.shape) == x.shape


def test_where_it_can_it_takes_one_kernel():
    layer, x = FusedBatchNormalization(), inputs((4, 7, 5, 3))
    assert "FusedBatchNormV3" in operations(layer, x)
    assert "FusedBatchNormV3" not in operations(layer, x, training=False)
    frozen = FusedBatchNormalization(trainable=False)
    assert "FusedBatchNormV3" not in operations(frozen, x)


def test_frozen_and_in_inference_it_normalises_by_the_moving_averages():
    layer, _ = layers()
    x = inputs((4, 7, 5, 3))
    gamma, beta, average, variance = (np.asarray(weight) for weight in layer.weights)
    expected = (x - average) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-4, atol=1e-5)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, average)


def test_what_is_masked_does_not_count():
    ours, of_keras = FusedBatchNormalization(), keras.layers.BatchNormalization()
    x, mask = inputs((4, 6, 3)), tf.constant(np.arange(24).reshape(4, 6) % 3 > 0)
    np.testing.assert_allclose(
        ours(x, training=True, mask=mask), of_keras(x, training=True, mask=mask), rtol=1e-5
    )
    np.testing.assert_allclose(ours.moving_mean, of_keras.moving_mean, rtol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_trains_as_with_that_of_keras_in_a_graph_and_under_xla(jit_compile):
    x, y = inputs((64, 8, 6, 2)), np.random.default_rng(3).normal(size=(64, 1))
    ended = []
    for normalization in (FusedBatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((None, None, 2)),
                keras.layers.Conv2D(4, 3, padding="same", use_bias=False),
                normalization(),
                keras.layers.Activation("tanh"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.SGD(0.05), "mean_squared_error", jit_compile=jit_compile)
        model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
        ended.append(model.get_weights())
    for ours, of_keras in zip(*ended, strict=True):
        np.testing.assert_allclose(ours, of_keras, rtol=1e-3, atol=1e-5)


def test_it_comes_back_from_a_file_and_knows_no_batch_size(tmp_path):
    inputs_of_model = keras.Input((None, 3))
    outputs = FusedBatchNormalization(momentum=0.5, name="normalization")(inputs_of_model)
    model = keras.Model(inputs_of_model, outputs)
    assert outputs.shape == (None, None, 3)
    model(inputs((4, 6, 3)), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.get_layer("normalization"), FusedBatchNormalization)
    assert loaded.get_layer("normalization").momentum == 0.5
    for value, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
