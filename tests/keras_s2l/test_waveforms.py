"""Embeddings of recordings of any length against a loop over their windows."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import LogSpectrogram, WaveformEncoder
from tests import references
from tests.layer_checks import check_layer


class Recorder(keras.layers.Layer):
    """A frontend that keeps the windows it is given, in eager mode."""

    def call(self, waveforms):
        if not tf.is_symbolic_tensor(waveforms):
            self.windows = waveforms.numpy()
        return waveforms

    def compute_output_shape(self, shape):
        return shape


class Squares(keras.layers.Layer):
    """An encoder whose mean over windows tells them apart: each sample, and its square."""

    def call(self, windows):
        return keras.ops.concatenate([windows, windows**2], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], 2 * shape[1])


def _windows(waveform, window):
    encoder = WaveformEncoder(Recorder(), Squares(), window)
    encoder(waveform[None])
    return encoder.frontend.windows


def _truth(waveforms, window):
    windows = [references.windows(row, window) for row in waveforms]
    return [np.concatenate([row, row**2], axis=1).mean(axis=0) for row in windows]


@pytest.mark.parametrize("samples", [1, 7, 8, 12, 15, 16, 20, 24, 40])
def test_shorter_equal_and_longer_recordings_match_the_loop_over_windows(samples):
    waveforms = np.random.RandomState(0).randn(3, samples).astype("float32")
    encoder = WaveformEncoder(Recorder(), Squares(), 8)
    embeddings = encoder(waveforms)
    np.testing.assert_allclose(embeddings, _truth(waveforms, 8), atol=1e-5)
    assert embeddings.shape == encoder.compute_output_shape(waveforms.shape)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 20))
def test_the_fewest_windows_reach_from_the_first_sample_to_the_last(samples, window):
    windows = _windows(np.arange(1.0, samples + 1, dtype="float32"), window)
    assert len(windows) == max(1, math.ceil(samples / window))
    assert set(range(1, samples + 1)) == set(windows.ravel().astype(int)) - {0}
    assert windows[0, 0] == 1 and (samples < window or windows[-1, -1] == samples)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 20))
def test_windows_are_contiguous_and_evenly_spread(samples, window):
    windows = _windows(np.arange(1.0, samples + window + 1, dtype="float32"), window)
    assert (np.diff(windows, axis=1) == 1).all()
    assert np.ptp(np.diff(windows[:, 0])) <= 1


def test_a_short_recording_is_padded_with_silence_at_its_end():
    windows = _windows(np.array([1.0, 2.0, 3.0], "float32"), 5)
    np.testing.assert_array_equal(windows, [[1.0, 2.0, 3.0, 0.0, 0.0]])


def test_start_positions_do_not_overflow_in_a_long_recording():
    samples, window = 400_000, 16
    assert samples * (samples // window) > 2**31
    windows = _windows(np.arange(samples, dtype="float32"), window)
    starts = np.arange(25_000) * (samples - window) // 24_999
    np.testing.assert_array_equal(windows[:, 0], starts)
    assert windows[-1, -1] == samples - 1


@pytest.mark.parametrize("jit", [False, True])
def test_the_batch_and_the_length_may_be_unknown(jit):
    encoder = WaveformEncoder(Recorder(), Squares(), 8)
    compiled = tf.function(encoder, input_signature=[tf.TensorSpec([None, None])], jit_compile=jit)
    for batch, samples in ((1, 5), (2, 8), (3, 21)):
        waveforms = np.random.RandomState(0).randn(batch, samples).astype("float32")
        np.testing.assert_allclose(compiled(waveforms), _truth(waveforms, 8), atol=1e-5)


def test_each_recording_is_encoded_by_itself():
    waveforms = np.random.RandomState(0).randn(3, 21).astype("float32")
    encoder = WaveformEncoder(Recorder(), Squares(), 8)
    alone = np.concatenate([encoder(row[None]) for row in waveforms])
    np.testing.assert_allclose(encoder(waveforms), alone, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_training_reaches_the_encoder(training):
    dropout = keras.Sequential([keras.layers.Dropout(0.5, seed=0)])
    embeddings = WaveformEncoder(Recorder(), dropout, 64)(np.ones((1, 64)), training=training)
    assert (embeddings.numpy() == 0).any() == training


@pytest.mark.parametrize("window_samples", [0, -1, 1.0, True, None])
def test_a_bad_window_is_refused(window_samples):
    with pytest.raises(ValueError, match=r"`window_samples` must be a positive integer.*Received"):
        WaveformEncoder(Recorder(), Squares(), window_samples)


def _real_encoder():
    frontend = LogSpectrogram(8000, window_ms=5.0, stride_ms=5.0, fft_length=64, num_mel_bins=8)
    encoder = keras.Sequential(
        [
            keras.layers.Conv2D(2, 3, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    return WaveformEncoder(frontend, encoder, 400)


@pytest.mark.parametrize("samples", [399, 1000])
def test_windows_pass_through_the_frontend_and_the_encoder(samples):
    waveforms = np.random.RandomState(0).uniform(-1, 1, (2, samples)).astype("float32")
    layer = _real_encoder()
    embeddings = layer(waveforms)
    truth = [
        layer.encoder(layer.frontend(references.windows(row, 400).astype("float32")))
        .numpy()
        .mean(axis=0)
        for row in waveforms
    ]
    np.testing.assert_allclose(embeddings, truth, atol=1e-5)
    assert embeddings.shape == (2, 3)


def test_config_round_trip_keeps_the_parts():
    layer = _real_encoder()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.window_samples == 400
    assert copy.frontend.get_config() == layer.frontend.get_config()
    assert [type(part) for part in copy.encoder.layers] == [
        type(part) for part in layer.encoder.layers
    ]


def test_passes_the_shared_check(tmp_path):
    waveforms = np.random.RandomState(0).uniform(-1, 1, (3, 1000)).astype("float32")
    check_layer(_real_encoder(), waveforms, tmp_path, mixed_dtype="float32")


@pytest.mark.parametrize("shape", [(2, 20000, 1), (20000,)])
def test_waveforms_of_another_rank_are_refused(shape):
    encoder = WaveformEncoder(LogSpectrogram(), keras.layers.Flatten(), 16000)
    with pytest.raises(ValueError, match=r"must have shape \(batch, samples\); mix"):
        encoder(np.zeros(shape, "float32"))


def test_integers_are_refused_with_what_to_divide_them_by():
    encoder = WaveformEncoder(LogSpectrogram(), keras.layers.Flatten(), 16000)
    with pytest.raises(ValueError, match="divide samples of 16 bits by 32768"):
        encoder(np.zeros((2, 16000), "int16"))
