"""Spectrograms against frame-by-frame transforms in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import LogSpectrogram
from tests import references
from tests.layer_checks import check_layer

SMALL = {"sample_rate": 8000, "window_ms": 10.0, "stride_ms": 4.0, "fft_length": 128}


def _waveforms(batch=2, samples=400):
    return np.random.RandomState(0).uniform(-1, 1, (batch, samples)).astype("float32")


def _truth(waveforms, matrix=None, floor=1e-3):
    magnitudes = np.stack([references.magnitudes(row, 80, 32, 128) for row in waveforms])
    return np.log1p((magnitudes if matrix is None else magnitudes @ matrix) / floor)[..., None]


@pytest.mark.parametrize("floor", [1e-3, 2.0])
@pytest.mark.parametrize("samples", [80, 111, 112, 400])
def test_linear_bins_match_reference(samples, floor):
    waveforms = _waveforms(samples=samples)
    layer = LogSpectrogram(**SMALL, floor=floor)
    spectrograms = layer(waveforms)
    np.testing.assert_allclose(spectrograms, _truth(waveforms, floor=floor), atol=1e-3)
    assert spectrograms.shape == (2, 1 + (samples - 80) // 32, 65, 1)
    assert spectrograms.shape == layer.compute_output_shape(waveforms.shape)


@pytest.mark.parametrize("min_hertz, max_hertz", [(0.0, None), (30.0, None), (200.0, 3000.0)])
@pytest.mark.parametrize("num_mel_bins", [1, 8, 20])
def test_mel_bins_match_reference(num_mel_bins, min_hertz, max_hertz):
    waveforms = _waveforms()
    layer = LogSpectrogram(
        **SMALL, num_mel_bins=num_mel_bins, min_hertz=min_hertz, max_hertz=max_hertz
    )
    matrix = references.mel_matrix(num_mel_bins, 128, 8000, min_hertz, max_hertz or 4000)
    spectrograms = layer(waveforms)
    np.testing.assert_allclose(spectrograms, _truth(waveforms, matrix), atol=1e-3)
    assert spectrograms.shape == layer.compute_output_shape(waveforms.shape)


def test_the_paper_s_settings_are_the_default():
    waveforms = _waveforms(samples=1000)
    magnitudes = np.stack([references.magnitudes(row, 400, 160, 1024) for row in waveforms])
    truth = np.log1p(magnitudes / 1e-3)[..., None]
    np.testing.assert_allclose(LogSpectrogram()(waveforms), truth, atol=1e-3)
    assert LogSpectrogram()(np.zeros((2, 16000), "float32")).shape == (2, 98, 513, 1)


@pytest.mark.parametrize("num_mel_bins", [None, 8])
def test_silence_is_exactly_zero(num_mel_bins):
    silence = LogSpectrogram(**SMALL, num_mel_bins=num_mel_bins)(np.zeros((1, 400), "float32"))
    np.testing.assert_array_equal(silence, np.zeros(silence.shape))


def test_a_sine_of_1_khz_peaks_in_its_bin_at_a_quarter_of_the_window():
    sine = np.sin(2 * np.pi * 1000 * np.arange(4000) / 16000)[None].astype("float32")
    spectrogram = LogSpectrogram()(sine).numpy()[0, :, :, 0]
    np.testing.assert_array_equal(spectrogram.argmax(axis=1), 1000 * 1024 // 16000)
    magnitudes = 1e-3 * np.expm1(spectrogram.max(axis=1))
    np.testing.assert_allclose(magnitudes, 100.0, rtol=1e-2)


@pytest.mark.parametrize("jit", [False, True])
def test_works_compiled_with_an_unknown_batch(jit):
    waveforms = _waveforms()
    compiled = tf.function(
        LogSpectrogram(**SMALL), input_signature=[tf.TensorSpec([None, 400])], jit_compile=jit
    )
    np.testing.assert_allclose(compiled(waveforms), _truth(waveforms), atol=1e-3)


def test_works_with_an_unknown_number_of_samples():
    layer = LogSpectrogram(**SMALL)
    compiled = tf.function(layer, input_signature=[tf.TensorSpec([None, None])])
    for samples in (80, 400):
        waveforms = _waveforms(samples=samples)
        np.testing.assert_allclose(compiled(waveforms), _truth(waveforms), atol=1e-3)
    assert layer.compute_output_shape((None, None)) == (None, None, 65, 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sample_rate": 0}, "`sample_rate` must be a positive integer"),
        ({"sample_rate": 16000.0}, "`sample_rate` must be a positive integer"),
        ({"fft_length": -1}, "`fft_length` must be a positive integer"),
        ({"window_ms": 0.0}, "`window_ms` must be a positive"),
        ({"window_ms": 0.01}, "`window` must be a positive integer; raise `window_ms`"),
        ({"stride_ms": -1.0}, "`stride_ms` must be a positive"),
        ({"stride_ms": 0.01}, "`stride` must be a positive integer; raise `stride_ms`"),
        ({"floor": 0.0}, "`floor` must be a positive"),
        ({"num_mel_bins": 0}, "`num_mel_bins` must be a positive integer"),
        ({"fft_length": 256}, r"at least the window of 400 samples.*Received: fft_length=256"),
        ({"num_mel_bins": 8, "min_hertz": -1.0}, "0 <= min_hertz < max_hertz <= 8000"),
        ({"num_mel_bins": 8, "max_hertz": 8001.0}, "0 <= min_hertz < max_hertz <= 8000"),
        ({"num_mel_bins": 8, "min_hertz": 500.0, "max_hertz": 500.0}, "Received: min_hertz=500"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LogSpectrogram(**arguments)


def test_a_transform_as_long_as_the_window_is_accepted():
    assert LogSpectrogram(fft_length=400)(np.zeros((1, 400), "float32")).shape == (1, 1, 201, 1)


def test_waveforms_shorter_than_one_window_are_refused():
    with pytest.raises(ValueError, match=r"one window of 80 samples.*Received: 79 samples"):
        LogSpectrogram(**SMALL)(_waveforms(samples=79))


@pytest.mark.parametrize("shape", [(400,), (2, 400, 1)])
def test_waveforms_of_another_rank_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(batch, samples\); mix channels down first"):
        LogSpectrogram(**SMALL)(np.zeros(shape, "float32"))


@pytest.mark.parametrize("arguments", [{}, {"num_mel_bins": 8, "max_hertz": 3000.0, "floor": 0.1}])
def test_passes_the_shared_check(arguments, tmp_path):
    check_layer(LogSpectrogram(**SMALL, **arguments), _waveforms(), tmp_path)


def test_a_saved_model_keeps_the_spectrogram(tmp_path):
    waveforms = _waveforms()
    model = keras.Sequential([LogSpectrogram(**SMALL), keras.layers.Flatten()])
    model(waveforms)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(waveforms), _truth(waveforms).reshape(2, -1), atol=1e-3)


def test_built_inside_a_graph_it_also_works_outside():
    layer = LogSpectrogram(num_mel_bins=20)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 1000)).astype("float32")
    inside = np.concatenate(list(tf.data.Dataset.from_tensor_slices(x).batch(2).map(layer)))
    np.testing.assert_allclose(layer(x), inside, atol=1e-5)


def test_silence_has_a_gradient():
    x = tf.Variable(np.zeros((1, 1000), "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(LogSpectrogram(num_mel_bins=20)(x))
    np.testing.assert_array_equal(tape.gradient(total, x), 0.0)


def test_integer_samples_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="`waveforms` must be of a floating dtype"):
        LogSpectrogram()(np.zeros((1, 1000), "int16"))


def test_a_later_call_with_another_rank_is_refused_too():
    layer = LogSpectrogram()
    layer(np.zeros((1, 16000), "float32"))
    with pytest.raises(ValueError, match=r"must have shape \(batch, samples\); mix"):
        layer(np.zeros((1, 16000, 1), "float32"))
