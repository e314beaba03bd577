"""Exports are written whole or not at all, and checked by a process that knows nothing of us."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import saved_model, verify


@pytest.fixture
def encoder():
    layer = keras.layers.Dense(3, name="encoder")
    inputs = keras.Input((5,))
    return keras.Model(inputs, layer(keras.ops.tanh(inputs)))


INPUTS = tf.TensorSpec((None, 5), tf.float32, name="samples")


def expected(encoder):
    x = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    return {"inputs_5": x, "embeddings_5": np.array(encoder(x))}


def test_the_export_gives_what_the_encoder_gave(encoder, tmp_path):
    saved_model.write(encoder, INPUTS, {"name": "mine"}, tmp_path / "export")
    assert verify.largest_difference(str(tmp_path / "export"), expected(encoder)) <= 1e-6
    metadata = json.loads((tmp_path / "export" / "metadata.json").read_text())
    assert metadata["name"] == "mine"
    rebuilt = keras.saving.deserialize_keras_object(metadata["architecture"])
    assert rebuilt.count_params() == encoder.count_params()


@pytest.mark.parametrize("change", [0.1, np.nan])
def test_an_export_that_differs_is_noticed(encoder, change, tmp_path):
    saved_model.write(encoder, INPUTS, {}, tmp_path / "export")
    wrong = expected(encoder)
    wrong["embeddings_5"][1, 2] += change
    assert verify.largest_difference(str(tmp_path / "export"), wrong) > verify.TOLERANCE


def test_variables_are_listed_each_once(encoder, tmp_path):
    saved_model.write(encoder, INPUTS, {}, tmp_path / "export")
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    assert [v.shape for v in loaded.trainable_variables] == [(5, 3), (3,)]
    assert len(loaded.variables) == 2 and list(loaded.regularization_losses) == []


def test_a_failed_export_leaves_nothing(encoder, monkeypatch, tmp_path):
    def full_disk(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        saved_model.write(encoder, INPUTS, {}, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_anything_is_not_touched(encoder, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError):
        saved_model.write(encoder, INPUTS, {}, tmp_path / "export")
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(encoder, tmp_path):
    (tmp_path / "export").mkdir()
    saved_model.write(encoder, INPUTS, {}, tmp_path / "export")
    assert (tmp_path / "export" / "saved_model.pb").exists()
