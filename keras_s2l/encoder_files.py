"""Our exports as Keras models, on any backend."""

import os
import pathlib

import keras

from keras_s2l import _archives

KERAS_FILE = "encoder.keras"


def load_encoder(path):
    """Loads the Keras model of an export; unlike a SavedModel it needs no TensorFlow.

    It holds layers and weights and no code: it is read in Keras' safe mode.

    Args:
        path: A `.keras` file, or the folder of an export, which holds `encoder.keras`.

    Returns:
        A Keras model from a batch of inputs to embeddings; train it, freeze it, save it.

    Raises:
        ValueError: If there is no such file, or it differs from its checksum.

    Example:
    >>> encoder = load_encoder("runs/demo/export")   # With KERAS_BACKEND=jax, say.
    """
    path = pathlib.Path(os.fspath(path))
    if path.is_dir():
        _archives.verify_checksums(path)
        path = path / KERAS_FILE
    if not path.is_file():
        raise ValueError(
            f"`path` must be a `.keras` file, or an export's folder with {KERAS_FILE} in it. "
            f"Received: path={str(path)!r}, where there is none"
        )
    return keras.saving.load_model(path, safe_mode=True)
