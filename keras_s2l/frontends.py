"""From waveforms to spectrograms, inside the model."""

import math

import keras
import numpy as np
from keras import ops

from keras_s2l import _checks


def checked_waveforms(waveforms):
    """A tensor of floats `(batch, samples)`, else raises `ValueError`."""
    _refuse_other_rank(waveforms.shape)
    return _checks.floating_tensor(
        "waveforms", waveforms, "divide samples of 16 bits by 32768, others by their full scale"
    )


def _refuse_other_rank(shape):
    if len(shape) != 2:
        raise ValueError(
            "Waveforms must have shape (batch, samples); mix channels down first. Received: shape "
            f"{tuple(shape)}"
        )


@keras.saving.register_keras_serializable(package="keras_s2l")
class LogSpectrogram(keras.layers.Layer):
    """Log-compressed spectrogram of waveforms, linear or mel in frequency.

    The magnitude `m` of each bin becomes `log(1 + m / floor)`: silence is exactly 0, and so is what
    convolutions pad with. (The paper says "log-compressed" and does not state the formula.)

    Args:
        sample_rate: Samples a second.
        window_ms: Length of the Hann window, in milliseconds.
        stride_ms: Step from one window to the next, in milliseconds.
        fft_length: Length of the transform, at least that of the window.
        num_mel_bins: `None` for the `fft_length // 2 + 1` linear bins of the paper, or the number
            of triangular mel bins (HTK scale) from `min_hertz` to `max_hertz`.
        min_hertz, max_hertz: Edges of the mel bins; `max_hertz=None` is half the sample rate.
        floor: Magnitude at which compression begins. A sine of amplitude 1 has a magnitude of about
            a quarter of the window's samples.

    Input shape: `(batch, samples)` float waveforms in [-1, 1].
    Output shape: `(batch, time, frequency, 1)`, with `1 + (samples - window) // stride` times.

    Raises:
        ValueError: If a size is not positive, the window is longer than the transform, the mel
            edges leave the spectrum, or the input is shorter than one window or holds integers
            (divide samples of 16 bits by 32768).

    Example:
    >>> LogSpectrogram()(np.zeros((2, 16000), "float32")).shape   # (2, 98, 513, 1)

    Reference: the paper, section III: 25 ms window, 10 ms stride, 513 bins.
    """

    def __init__(
        self,
        sample_rate=16000,
        window_ms=25.0,
        stride_ms=10.0,
        fft_length=1024,
        num_mel_bins=None,
        min_hertz=30.0,
        max_hertz=None,
        floor=1e-3,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # A transform in half precision is useless.
        self.sample_rate = _checks.positive_int("sample_rate", sample_rate, "try 16000")
        self.window_ms = _checks.positive_float("window_ms", window_ms, "try 25.0")
        self.stride_ms = _checks.positive_float("stride_ms", stride_ms, "try 10.0")
        self.fft_length = _checks.positive_int("fft_length", fft_length, "try 1024")
        self.floor = _checks.positive_float("floor", floor, "try 1e-3")
        self.num_mel_bins = num_mel_bins
        self.min_hertz = min_hertz
        self.max_hertz = max_hertz
        self.window = _checks.positive_int(
            "window", round(sample_rate * window_ms / 1000), "raise `window_ms`"
        )
        self.stride = _checks.positive_int(
            "stride", round(sample_rate * stride_ms / 1000), "raise `stride_ms`"
        )
        if self.window > fft_length:
            raise ValueError(
                f"`fft_length` must be at least the window of {self.window} samples "
                f"({window_ms} ms at {sample_rate} Hz). Received: fft_length={fft_length}"
            )
        turns = [sample / self.window for sample in range(self.window)]
        hann = [0.5 - 0.5 * math.cos(2 * math.pi * turn) for turn in turns]
        self._hann = np.array(hann, "float32")
        if num_mel_bins is not None:
            _checks.positive_int("num_mel_bins", num_mel_bins, "try 60, or None for linear bins")
            if not 0 <= min_hertz < self._top_hertz() <= sample_rate / 2:
                raise ValueError(
                    "`min_hertz` and `max_hertz` must satisfy 0 <= min_hertz < max_hertz <= "
                    f"{sample_rate / 2} (half the sample rate). Received: min_hertz={min_hertz}, "
                    f"max_hertz={max_hertz}"
                )
        # An array, made here: a tensor made in `build` would belong to whichever graph builds it.
        self._mel_matrix = None if num_mel_bins is None else self._make_mel_matrix()

    def _top_hertz(self):
        return self.sample_rate / 2 if self.max_hertz is None else self.max_hertz

    def _make_mel_matrix(self):
        # Keras builds the matrix; its layer itself fixes a decibel scale that ours must not.
        matrix = keras.layers.MelSpectrogram().linear_to_mel_weight_matrix(
            num_mel_bins=self.num_mel_bins,
            num_spectrogram_bins=self.fft_length // 2 + 1,
            sampling_rate=self.sample_rate,
            lower_edge_hertz=self.min_hertz,
            upper_edge_hertz=self._top_hertz(),
        )
        return ops.convert_to_numpy(matrix)

    def call(self, waveforms):
        waveforms = ops.cast(checked_waveforms(waveforms), "float32")
        self._check_length(waveforms.shape[1])
        frames = ops.extract_sequences(waveforms, self.window, self.stride)
        frames = frames * ops.convert_to_tensor(self._hann)
        real, imaginary = ops.rfft(frames, fft_length=self.fft_length)
        power = ops.square(real) + ops.square(imaginary)
        sounds = power > 0  # The root has no gradient at 0, and silence has one here: 0.
        magnitude = ops.where(sounds, ops.sqrt(ops.where(sounds, power, 1.0)), 0.0)
        if self._mel_matrix is not None:
            magnitude = ops.matmul(magnitude, ops.convert_to_tensor(self._mel_matrix))
        return ops.cast(ops.log1p(magnitude / self.floor), self.compute_dtype)[..., None]

    def _check_length(self, samples):
        if samples is not None and samples < self.window:
            raise ValueError(
                f"Waveforms must hold at least one window of {self.window} samples; pad them. "
                f"Received: {samples} samples"
            )

    def compute_output_shape(self, waveform_shape):
        _refuse_other_rank(waveform_shape)
        batch, samples = waveform_shape
        self._check_length(samples)
        times = None if samples is None else 1 + (samples - self.window) // self.stride
        bins = self.fft_length // 2 + 1 if self.num_mel_bins is None else self.num_mel_bins
        return (batch, times, bins, 1)

    def get_config(self):
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "window_ms": self.window_ms,
            "stride_ms": self.stride_ms,
            "fft_length": self.fft_length,
            "num_mel_bins": self.num_mel_bins,
            "min_hertz": self.min_hertz,
            "max_hertz": self.max_hertz,
            "floor": self.floor,
        }
