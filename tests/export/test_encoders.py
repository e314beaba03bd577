"""The layers of an export of a run on sounds, as its SavedModel holds them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_s2l
from export import config as export_config
from export import encoders, saved_model, sources
from keras_s2l import pretext_model
from training import models
from training.checkpoints import save_weights
from training.data.form import Form
from training.errors import UserError
from training.recipes import RECIPES


@pytest.mark.slow
def test_what_the_front_end_holds_is_stored_once_and_used_by_all(tmp_path):
    config = dataclasses.replace(RECIPES["notes_grid"](), hidden_units=8)
    form = Form("audio")
    model = models.make_model(config, form)
    save_weights(model, tmp_path / "final.weights.h5")
    made = encoders.make(
        sources.Source(tmp_path, config, form, tmp_path / "final.weights.h5", 0, {}, {})
    )
    saved_model.write(made.encoder, made.inputs, tmp_path / "export", made.further)
    content = (tmp_path / "export" / "saved_model.pb").read_bytes()
    frontend = models.make_frontend(config)
    assert content.count(frontend._hann.tobytes()) == 1
    assert content.count(frontend._mel_matrix.tobytes()) == 1
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    samples = config.window_samples * 5 // 2
    x = np.random.default_rng(0).uniform(-1, 1, (2, samples)).astype("float32")
    for name in ("levels", "patches", "fc"):
        untraced = keras_s2l.WaveformEncoder(
            frontend, model.encoder_for(name), config.window_samples
        )
        given = loaded.signatures[name](waveforms=tf.constant(x))["embeddings"]
        np.testing.assert_allclose(given, untraced(x), atol=1e-5)


@pytest.mark.parametrize("embedding", ["fc", "patches", "positions"])
def test_another_embedding_than_that_of_the_run_is_the_first(embedding, tmp_path):
    config = dataclasses.replace(RECIPES["notes"](), hidden_units=8)
    form = Form("audio")
    model = models.make_model(config, form)
    save_weights(model, tmp_path / "final.weights.h5")
    source = sources.Source(tmp_path, config, form, tmp_path / "final.weights.h5", 0, {}, {})
    made = encoders.make(sources.with_embedding(source, embedding))
    assert set(made.further) == {"levels", "positions", "patches", "fc", "spectrogram"}
    x = np.random.default_rng(0).uniform(-1, 1, (1, config.window_samples)).astype("float32")
    expected = model.encoder_for(embedding)(models.make_frontend(config)(x))
    np.testing.assert_allclose(made.encoder(x), expected, atol=1e-5)
    assert made.further["spectrogram"][0].output_shape[-1] == expected.shape[-1]


def test_an_export_can_be_asked_for_every_embedding():
    assert export_config.EMBEDDINGS == pretext_model.EMBEDDINGS


def test_a_grid_has_no_positions_to_give_first(tmp_path):
    config = dataclasses.replace(RECIPES["notes_grid"](), embedding="positions")
    source = sources.Source(tmp_path, config, Form("audio"), tmp_path / "none", 0, {}, {})
    with pytest.raises(UserError, match="needs patches along one axis"):
        encoders.make(source)
