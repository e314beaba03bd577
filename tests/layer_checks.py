"""What every op and every layer must pass, whichever it is."""

import keras
import numpy as np
import tensorflow as tf

MODES = ("eager", "graph", "xla")


def run(op, scores, mode):
    """`op(scores)` in `mode`; compiled ones do not know the batch size when they are traced."""
    scores = tf.convert_to_tensor(scores)
    if mode == "eager":
        return op(scores)
    signature = [tf.TensorSpec([None, *scores.shape[1:]], scores.dtype)]
    return tf.function(op, input_signature=signature, jit_compile=mode == "xla")(scores)


def check_layer(layer, inputs, directory, mixed_dtype="float16"):
    """Config round trip, save and load, unknown batch, declared shapes, mixed precision.

    `mixed_dtype` is that of the outputs under the policy `mixed_float16`.
    """
    config = layer.get_config()
    for _ in range(2):  # Reading a config leaves it whole.
        assert type(layer).from_config(config).get_config() == config
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == config

    symbolic = keras.Input(inputs.shape[1:], dtype=str(inputs.dtype))
    model = keras.Model(symbolic, layer(symbolic))
    path = str(directory / "model.keras")
    model.save(path)
    loaded = keras.saving.load_model(path)
    for before, after in zip(_flat(model(inputs)), _flat(loaded(inputs)), strict=True):
        np.testing.assert_array_equal(after, before)

    for batch in (1, len(inputs)):
        shapes = [tuple(output.shape) for output in _flat(model(inputs[:batch]))]
        declared = layer.compute_output_shape((batch, *inputs.shape[1:]))
        assert shapes == (list(declared) if isinstance(declared[0], tuple) else [declared])
    assert all(output.shape[0] is None for output in _flat(model.output))

    mixed = type(layer).from_config({**config, "dtype": "mixed_float16"})
    for output in _flat(mixed(inputs)):
        if "float" in output.dtype.name:
            assert output.dtype == mixed_dtype
            assert np.isfinite(output).all()


def _flat(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
