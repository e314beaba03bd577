"""The Keras model of an export, on any backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_s2l
from tests.keras_s2l import exports
from tests.replicas import ROOT

WAVEFORMS = np.random.default_rng(0).uniform(-1, 1, (6, 1500)).astype("float32")


@pytest.fixture(scope="module")
def encoder():
    return exports.audio_encoder()


ON_JAX = """
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np, keras_s2l
folder, waveforms, output = sys.argv[1:]
try:
    keras_s2l.HubEncoder(folder)
except ValueError as error:
    assert "keras_s2l.load_encoder(path)" in str(error) and "jax" in str(error), error
else:
    raise AssertionError("no error")
encoder = keras_s2l.load_encoder(folder)
before = encoder.get_weights()
np.save(output, encoder.predict(np.load(waveforms), verbose=0))
model = keras.Sequential([encoder, keras.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.load(waveforms), np.ones((6, 2)), verbose=0)
assert all((a != b).any() for a, b in zip(before, encoder.get_weights()))
"""


@pytest.fixture
def with_keras_file(encoder, tmp_path):
    """Folder of an export with `encoder.keras` in it."""
    folder = tmp_path / "export"
    folder.mkdir()
    inputs = keras.Input((None,))
    keras.Model(inputs, encoder(inputs)).save(folder / "encoder.keras")
    return folder


@pytest.mark.slow
def test_on_jax_the_keras_file_of_an_export_loads_without_tensorflow(
    encoder, with_keras_file, tmp_path
):
    np.save(tmp_path / "waveforms.npy", WAVEFORMS)
    arguments = [with_keras_file, tmp_path / "waveforms.npy", tmp_path / "embeddings.npy"]
    output = subprocess.run(
        [sys.executable, "-c", ON_JAX, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert output.returncode == 0, output.stderr
    np.testing.assert_allclose(np.load(arguments[2]), encoder(WAVEFORMS), atol=1e-5)


def test_the_keras_file_is_found_checked_and_read_in_safe_mode(encoder, with_keras_file, tmp_path):
    for path in (with_keras_file, with_keras_file / "encoder.keras"):
        loaded = keras_s2l.load_encoder(path)
        np.testing.assert_allclose(loaded(WAVEFORMS), encoder(WAVEFORMS), atol=1e-6)
    (with_keras_file / "SHA256SUMS").write_text(f"{'0' * 64}  encoder.keras\n")
    with pytest.raises(ValueError, match=r"encoder\.keras in .* differs"):
        keras_s2l.load_encoder(with_keras_file)
    with pytest.raises(ValueError, match="where there is none"):
        keras_s2l.load_encoder(tmp_path)
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(
        tmp_path / "lambda.keras"
    )
    with pytest.raises(Exception, match="safe"):
        keras_s2l.load_encoder(tmp_path / "lambda.keras")
