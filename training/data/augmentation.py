"""How examples vary from epoch to epoch, so that nothing of them is learnt by heart."""

import dataclasses

import tensorflow as tf

from training.data import crops
from training.data.stream import WHOLE

SNR_RANGE_DB = 40.0


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Of log spectrograms in time, level and extent, of pictures and clips in extent alone.

    Attributes:
        max_shift: Each begins up to so many time steps late, after zeros, and loses its end.
        max_gain_db: Each is up to so many decibels louder or softer.
        min_snr_db: White noise is added, at so many decibels below the sound or up to 40 more;
            None for none.
        min_time: Of each a part of the time is kept, of at least this share, as long as the whole.
        min_frequency: The same of the frequencies.
        min_area: Of each a part is kept, of at least this share of its area, as large as the whole.
    """

    max_shift: int = 0
    max_gain_db: float = 0.0
    min_snr_db: float | None = None
    min_time: float = 1.0
    min_frequency: float = 1.0
    min_area: float = 1.0

    def vary(self, x, seed, share=WHOLE):
        """Varies each example of a batch, or a share of one, as follows from a stateless seed."""
        batch = tf.shape(x)[:1] * share.workers
        shift_seed, gain_seed = (
            tf.random.experimental.stateless_fold_in(seed, number) for number in (1, 2)
        )
        if self.max_shift:
            last = self.max_shift + 1
            shifts = tf.random.stateless_uniform(batch, shift_seed, 0, last, tf.int32)
            x = delayed(x, share.of(shifts))
        if self.max_gain_db:
            limit = self.max_gain_db
            gains = tf.random.stateless_uniform(batch, gain_seed, -limit, limit)
            x = louder(x, share.of(gains))
        if self.min_snr_db is not None:
            noise_seed = tf.random.experimental.stateless_fold_in(seed, 6)
            snr = self.min_snr_db + SNR_RANGE_DB * tf.random.stateless_uniform(batch, noise_seed)
            shape = tf.concat([batch, tf.shape(x)[1:]], 0)
            noise_seed = tf.random.experimental.stateless_fold_in(seed, 7)
            draws = tf.random.stateless_uniform(shape, noise_seed, minval=1e-7)
            x = noisier(x, share.of(snr), share.of(draws))
        if min(self.min_time, self.min_frequency, self.min_area) < 1:
            part_seed = tf.random.experimental.stateless_fold_in(seed, 5)
            draws = tf.random.stateless_uniform(tf.concat([[4], batch], 0), part_seed)
            *extents, row, column = tf.unstack(share.of(draws, axis=1))
            x = crops.resized(x, crops.boxes(self._extents(*extents), [row, column]))
        return x

    def _extents(self, *draws):
        """Shares of both axes that are kept, as was drawn."""
        if self.min_area < 1:
            return crops.extents(*draws, self.min_area)
        least = self.min_time, self.min_frequency
        return [crops.between(draw, low, 1.0) for draw, low in zip(draws, least)]


def delayed(x, shifts):
    """Each example `(batch, time, ...)` that many time steps later: zeros come in, its end goes."""
    x = tf.convert_to_tensor(x)
    times = tf.shape(x)[1]
    source = tf.range(times)[None, :] - shifts[:, None]
    moved = tf.gather(x, tf.maximum(source, 0), axis=1, batch_dims=1)
    began = tf.reshape(source >= 0, tf.concat([tf.shape(source), [1] * (x.shape.rank - 2)], 0))
    return tf.where(began, moved, tf.zeros_like(moved))


def noisier(x, snr_db, draws):
    """Each log spectrogram as of its waveform with white noise, about: as if all bins were linear.

    Args:
        x: Log spectrograms `(batch, time, frequency, 1)` as of `LogSpectrogram`.
        snr_db: Decibels `(batch,)` by which the power of the sound is above that of the noise.
        draws: Numbers in (0, 1], of the shape of `x`, from which the noise follows.
    """
    power = tf.square(tf.math.expm1(x))
    level = tf.reduce_mean(power, axis=[1, 2, 3]) / tf.pow(10.0, snr_db / 10)
    # A bin of white noise is complex normal, so its power is exponential.
    noise = level[:, None, None, None] * -tf.math.log(draws)
    return tf.math.log1p(tf.sqrt(power + noise))


def louder(x, gains_db):
    """Each log spectrogram as `LogSpectrogram` gives it for the waveform at another level."""
    factors = tf.pow(10.0, gains_db / 20)[:, None, None, None]
    return tf.math.log1p(factors * tf.math.expm1(x))
