"""Our exports in every client there is, and models that others made in ours."""

import os
import shutil
import subprocess
import sys
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import HubEncoder
from tests.keras_s2l import exports
from tests.keras_s2l.servers import hub_server
from tests.replicas import ROOT
from tests.test_readme import run_page_of_shapes

WAVEFORMS = np.random.default_rng(0).uniform(-1, 1, (6, 1500)).astype("float32")
PICTURES = np.random.default_rng(1).uniform(0, 1, (8, 12, 11, 3)).astype("float32")


@pytest.fixture(scope="module")
def encoder():
    return exports.audio_encoder()


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients") / "export"
    exports.write_audio(encoder, folder)
    return folder


@pytest.fixture(scope="module")
def image_vectors(tmp_path_factory):
    """The model, and the folder of its SavedModel."""
    folder = tmp_path_factory.mktemp("images") / "model"
    return exports.write_image_vectors(folder), folder


WITHOUT_US = """
import sys
sys.modules["keras_s2l"] = None  # Not to be imported.
import numpy as np, tensorflow as tf, tensorflow_hub as hub
folder, waveforms, output = sys.argv[1:]
waveforms = np.load(waveforms)
loaded = hub.load(folder)
np.save(output, loaded(waveforms))
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(loaded(waveforms, training=True) ** 2)
gradients = tape.gradient(loss, loaded.trainable_variables)
assert len(gradients) == 9 and all(np.any(gradient) for gradient in gradients)

import tf_keras
layer = hub.KerasLayer(folder, trainable=True)
model = tf_keras.Sequential([layer, tf_keras.layers.Dense(2)])
model.compile("sgd", "mse")
model.build((None, 1500))
before = layer.get_weights()
np.testing.assert_allclose(layer(waveforms), np.load(output), atol=1e-6)
model.fit(waveforms, np.ones((6, 2)), verbose=0)
# Batch statistics too.
assert len(before) == 15
assert all((old != new).any() for old, new in zip(before, layer.get_weights(), strict=True))
"""


@pytest.mark.slow
def test_tensorflow_and_tf_hub_alone_load_it_and_tf_keras_trains_it(encoder, folder, tmp_path):
    np.save(tmp_path / "waveforms.npy", WAVEFORMS)
    arguments = [folder, tmp_path / "waveforms.npy", tmp_path / "embeddings.npy"]
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert output.returncode == 0, output.stderr
    np.testing.assert_allclose(np.load(arguments[2]), encoder(WAVEFORMS), atol=1e-5)


IN_KERAS_3 = """
import sys
import keras, keras_s2l, numpy as np
layer = keras_s2l.HubEncoder(sys.argv[1], trainable=True)
model = keras.Sequential([layer, keras.layers.Dense(2)])
model.compile("sgd", "mse")
before = layer.get_weights()
model.fit(np.load(sys.argv[2]), np.ones((6, 2)), verbose=0)
assert all((old != new).any() for old, new in zip(before, layer.get_weights(), strict=True))
"""


@pytest.mark.slow
def test_a_fresh_process_trains_it_in_keras_3_with_one_warning(folder, tmp_path):
    np.save(tmp_path / "waveforms.npy", WAVEFORMS)
    output = subprocess.run(
        [sys.executable, "-c", IN_KERAS_3, str(folder), str(tmp_path / "waveforms.npy")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    assert output.returncode == 0, output.stderr
    assert output.stderr.count("load only what you trust") == 1


def test_tfsm_layer_serves_it(encoder, folder):
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")
    np.testing.assert_allclose(layer(WAVEFORMS)["embeddings"], encoder(WAVEFORMS), atol=1e-5)


def test_a_server_sends_it_once_though_it_broke_off(encoder, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "export.tar.gz", "w:gz") as tar:
        tar.add(folder, ".")
    archive = (tmp_path / "export.tar.gz").read_bytes()
    with hub_server(archive, break_off=4) as (url, asked):
        with pytest.raises(ValueError, match=r"`handle` must be .* it broke off after"):
            HubEncoder(url)
        assert len(asked) == 3 and not (tmp_path / "cache").exists()
        HubEncoder(url)
        assert len(asked) == 5
    for handle in (url, tmp_path / "export.tar.gz"):  # The server is gone.
        np.testing.assert_allclose(HubEncoder(handle)(WAVEFORMS), encoder(WAVEFORMS), atol=1e-5)
    truncated = tmp_path / "truncated.tar.gz"
    truncated.write_bytes(archive[: len(archive) // 2])
    with pytest.raises(ValueError, match="the end of it is missing"):
        HubEncoder(truncated)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_of_the_versions_that_tensorflow_serving_keeps_the_last_is_loaded(
    encoder, folder, tmp_path
):
    shutil.copytree(folder, tmp_path / "served" / "10")
    (tmp_path / "served" / "9").mkdir()
    layer = HubEncoder(tmp_path / "served")
    np.testing.assert_allclose(layer(WAVEFORMS), encoder(WAVEFORMS), atol=1e-5)


def test_changed_variables_are_noticed_by_their_checksum(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "export")
    sums = subprocess.run(
        ["sha256sum", *(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    (tmp_path / "export" / "SHA256SUMS").write_bytes(sums.stdout)
    HubEncoder(tmp_path / "export")
    (data,) = (tmp_path / "export" / "variables").glob("variables.data*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(ValueError, match=r"variables\.data.* differs"):
        HubEncoder(tmp_path / "export")


@pytest.mark.slow
def test_image_vectors_of_tf_keras_are_fine_tuned_as_the_original(image_vectors):
    import tf_keras

    original, folder = image_vectors
    original = tf_keras.models.clone_model(original)
    original.set_weights(image_vectors[0].get_weights())
    layer = HubEncoder(folder)
    np.testing.assert_allclose(layer(PICTURES), original(PICTURES), atol=1e-5)
    answers = np.random.default_rng(2).normal(size=(8, 4)).astype("float32")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    original.compile(tf_keras.optimizers.SGD(0.05), "mse")
    histories = [
        trained.fit(PICTURES, answers, batch_size=4, epochs=10, shuffle=False, verbose=0).history
        for trained in (model, original)
    ]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-5)
    of_layer = [*layer.trainable_variables, *layer.non_trainable_variables]
    of_original = [*original.trainable_variables, *original.non_trainable_variables]
    for ours, theirs in zip(of_layer, of_original, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_image_vectors_frozen_keep_their_statistics(image_vectors):
    original, folder = image_vectors
    layer = HubEncoder(folder, trainable=False)
    before = layer.get_weights()
    np.testing.assert_allclose(layer(PICTURES, training=True), original(PICTURES), atol=1e-5)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_waveform_without_a_batch_gives_several_outputs(tmp_path):
    original = exports.write_waveforms(tmp_path / "model")
    with pytest.raises(ValueError, match=r"frozen only.* names no `trainable_variables`"):
        HubEncoder(tmp_path / "model")
    inputs = keras.Input(batch_shape=(None,))
    layer = HubEncoder(tmp_path / "model", trainable=False)
    model = keras.Model(inputs, layer(inputs))
    assert [output.shape for output in model.outputs] == [(None, 3), (None, 3), (None, 5)]
    assert layer.count_params() == 24
    waveform = WAVEFORMS[0]
    for given, expected in zip(model(waveform), original(waveform), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-6)
    embeddings = HubEncoder(tmp_path / "model", trainable=False, output_key=1)
    np.testing.assert_allclose(embeddings(waveform), original(waveform)[1], atol=1e-6)
    with pytest.raises(ValueError, match=r"`output_key` must be one of \[0, 1, 2\]"):
        HubEncoder(tmp_path / "model", trainable=False, output_key=3)(waveform)


@pytest.mark.slow
def test_text_is_looked_up_and_its_embeddings_are_trained(tmp_path):
    exports.write_text(tmp_path / "model", tmp_path / "vocabulary.txt")
    (tmp_path / "vocabulary.txt").unlink()  # The SavedModel has its own.
    layer = HubEncoder(tmp_path / "model")
    model = keras.Sequential([keras.Input((), dtype="string"), layer, keras.layers.Dense(1)])
    sentences = tf.constant(["cat", "dog bird", "unheard of"])
    rows = np.arange(12.0).reshape(4, 3)
    expected = [rows[0], rows[[1, 2]].mean(axis=0), rows[3]]
    np.testing.assert_allclose(layer(sentences), expected)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    frozen = HubEncoder(tmp_path / "model", trainable=False)
    assert model.jit_compile is False and not frozen.supports_jit  # XLA has no tables.
    model.fit(tf.data.Dataset.from_tensors((sentences, tf.ones((3, 1)))), verbose=0)
    assert np.any(layer.get_weights()[0] != rows)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(sentences), model(sentences), rtol=1e-6)


@pytest.mark.slow
def test_the_page_on_hub_runs(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "runs" / "demo" / "export")
    exports.write_text(tmp_path / "encoders" / "text", tmp_path / "vocabulary.txt")
    monkeypatch.chdir(tmp_path)
    names, checked = run_page_of_shapes("hub.md")
    assert checked == 1
    waveforms = names["waveforms"]
    assert len(names["gradients"]) == 9
    assert names["embeddings"].shape == names["served"](waveforms).shape == (8, 72)
    assert names["model"].layers[0].handle == "encoders/notes"
    assert np.isfinite(names["old_model"].predict(waveforms, verbose=0)).all()
