"""Other formats of an export, by Keras' own converters where their packages are installed."""

import importlib.util

import numpy as np

from training.errors import UserError

NEEDED = {"litert": (), "onnx": ("onnx", "tf2onnx", "onnxruntime")}  # Packages beside TensorFlow.
FILES = {"litert": "encoder.tflite", "onnx": "encoder.onnx"}
TOLERANCE = 1e-4


def refuse_missing(formats):
    """Raises `UserError` for a format that is unknown, or whose converter is not installed."""
    for name in formats:
        if name not in NEEDED:
            raise UserError(f"--formats must be some of {','.join(NEEDED)}. Received: {name}.")
        missing = [one for one in NEEDED[name] if importlib.util.find_spec(one) is None]
        if missing:
            raise UserError(
                f"--formats={name} needs {', '.join(missing)}: `pip install 'keras_s2l[{name}]'`."
            )


def write(encoder, formats, folder):
    """Writes an encoder in other formats and compares what they give with what it gives.

    Args:
        encoder: A functional Keras model of float32 inputs of known size: pictures, or the
            spectrogram of one window, for these formats know no sound of any length.
        formats: Names, "litert" and "onnx".
        folder: Of the export.

    Returns:
        Largest absolute differences by name.

    Raises:
        UserError: If one gives something else.
    """
    inputs = np.random.default_rng(0).uniform(0, 1, (3, *encoder.input_shape[1:])).astype("float32")
    expected = np.asarray(encoder(inputs, training=False))
    run = {"litert": _run_litert, "onnx": _run_onnx}
    differences = {}
    for name in formats:
        path = folder / FILES[name]
        try:
            encoder.export(str(path), format=name, verbose=False)
        except ValueError as error:  # This version of Keras may not know it.
            raise UserError(f"--formats={name} failed: {str(error).splitlines()[0]}") from error
        differences[name] = float(np.abs(run[name](path, inputs) - expected).max())
        if not differences[name] <= TOLERANCE:
            raise UserError(
                f"--formats={name}: what was converted differs by {differences[name]:.3g} from the "
                "encoder; nothing was exported."
            )
    return differences


def _run_litert(path, inputs):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"])


def _run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    (taken,) = session.get_inputs()
    return session.run(None, {taken.name: inputs})[0]
