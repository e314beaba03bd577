"""The layers of an export of a run on sounds, as its SavedModel holds them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_s2l
from export import encoders, saved_model, sources
from training import models
from training.checkpoints import save_weights
from training.data.examples import Form
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
