"""An encoder of spectrograms made one of recordings of any length."""

import keras
import numpy as np
from keras import ops

from keras_s2l import _checks
from keras_s2l._nested import restored
from keras_s2l.frontends import checked_waveforms


@keras.saving.register_keras_serializable(package="keras_s2l")
class WaveformEncoder(keras.layers.Layer):
    """Encodes waveforms of any length by windows of the length that the encoder was trained on.

    A recording of one window is encoded as it is, a shorter one padded with silence, a longer one
    covered by the fewest windows that reach from its first sample to its last, evenly spread, whose
    embeddings are averaged.

    Args:
        frontend: Layer from waveforms `(batch, window_samples)` to what `encoder` takes.
        encoder: Model or layer that gives embeddings `(batch, dimensions)`.
        window_samples: Length of a window.

    Input shape: `(batch, samples)`. Output shape: `(batch, dimensions)`.

    Raises:
        ValueError: If `window_samples` is not positive, waveforms have another shape or hold
            integers, or there are no samples.

    Example:
    >>> flat = keras.layers.Flatten()   # Or the encoder of a `ShuffleToLearn` model.
    >>> encoder = WaveformEncoder(LogSpectrogram(num_mel_bins=60), flat, 16000)
    >>> encoder(np.zeros((2, 40000), "float32")).shape   # (2, 5880)
    """

    def __init__(self, frontend, encoder, window_samples, **kwargs):
        super().__init__(autocast=False, **kwargs)  # The front-end needs all the bits.
        self.window_samples = _checks.positive_int("window_samples", window_samples, "try 16000")
        self.frontend = frontend
        self.encoder = encoder

    def build(self, waveforms_shape):
        window_shape = (waveforms_shape[0], self.window_samples)
        if not self.frontend.built:
            self.frontend.build(window_shape)
        if not self.encoder.built:
            self.encoder.build(self.frontend.compute_output_shape(window_shape))
        super().build(waveforms_shape)

    def call(self, waveforms, training=None):
        waveforms = checked_waveforms(waveforms)
        if waveforms.shape[1] == 0:
            raise ValueError("Waveforms must hold at least one sample. Received: 0 samples")
        batch, samples = ops.shape(waveforms)
        window = self.window_samples
        starts = _starts(samples, window)
        num_windows = ops.shape(starts)[0]
        index = ops.reshape(starts[:, None] + ops.arange(window, dtype="int32"), (-1,))
        inside = ops.cast(index < samples, waveforms.dtype)
        windows = ops.take(waveforms, ops.minimum(index, samples - 1), axis=1) * inside
        spectrograms = self.frontend(ops.reshape(windows, (-1, window)))
        embeddings = self.encoder(spectrograms, training=training)
        dimensions = embeddings.shape[-1]
        return ops.mean(ops.reshape(embeddings, (batch, num_windows, dimensions)), axis=1)

    def compute_output_shape(self, waveforms_shape):
        windows_shape = self.frontend.compute_output_shape(
            (waveforms_shape[0], self.window_samples)
        )
        return self.encoder.compute_output_shape(windows_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "frontend": keras.saving.serialize_keras_object(self.frontend),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "window_samples": self.window_samples,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "frontend", "encoder"))


def _starts(samples, window):
    """Where windows begin; by NumPy where the length is known, as on JAX, which compiles it in."""
    known = isinstance(samples, int)
    maximum, arange = (max, np.arange) if known else (ops.maximum, ops.arange)
    num_windows = maximum((samples + window - 1) // window, 1)
    slack = maximum(samples - window, 0)
    number = arange(num_windows, dtype="int32")
    # `number * slack // gaps`, in parts: the product would overflow for an hour of sound.
    gaps = maximum(num_windows - 1, 1)
    return number * (slack // gaps) + number * (slack % gaps) // gaps
