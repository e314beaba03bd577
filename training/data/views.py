"""Two views of an example, which a contrastive learner has to find among those of others."""

import dataclasses

import tensorflow as tf

from training.data.augmentation import louder
from training.data.stream import WHOLE

# Choices of ours, after SimCLR (which keeps 8 % or more of a picture of 224 pixels) and COLA.
LEAST_AREA = 0.3  # Of a picture or a frame that is kept.
LEAST_TIME = 0.5  # Of a sound that is kept.
CONTRAST = 0.4  # Pictures have from 0.6 to 1.4 times their contrast,
BRIGHTNESS = 0.2  # and are brighter or darker by so much.


@dataclasses.dataclass(frozen=True)
class Views:
    """How views are drawn: a part of the example, as large as all of it, louder or in other light.

    A sound keeps all its frequencies, for they carry its pitch, and part of its time. Frames of a
    clip are all cut alike. Nothing is mirrored: a digit would be none.

    Attributes:
        kind: "audio" for log spectrograms, "image" or "video".
        max_gain_db: Views of sounds are up to so many decibels louder or softer.
    """

    kind: str
    max_gain_db: float = 0.0

    def draw(self, x, seed, share=WHOLE):
        """Two views `(batch, 2, ...)` of each example of a batch or a share of it, from a seed."""
        first, second = (
            self._view(x, tf.random.experimental.stateless_fold_in(seed, number), share)
            for number in (1, 2)
        )
        return tf.stack([first, second], axis=1)

    def _view(self, x, seed, share):
        batch = tf.shape(x)[0]
        draws = share.of(tf.random.stateless_uniform([6, batch * share.workers], seed), axis=1)
        if self.kind == "audio":
            extents = _between(draws[0], LEAST_TIME, 1.0), tf.ones([batch])
        else:
            extents = _extents(draws[0], draws[1])
        x = _resized(x, _boxes(extents, draws[2:4]), self.kind)
        if self.kind == "audio":
            return louder(x, self.max_gain_db * _between(draws[4], -1.0, 1.0))
        return _in_other_light(x, draws[4], draws[5])


def _between(draws, low, high):
    return low + (high - low) * draws


def _extents(area_draws, aspect_draws):
    """Shares of the height and of the width: a random area, from 3:4 to 4:3."""
    area = _between(area_draws, LEAST_AREA, 1.0)
    aspect = tf.exp(_between(aspect_draws, tf.math.log(3 / 4), tf.math.log(4 / 3)))
    return tf.minimum(tf.sqrt(area * aspect), 1.0), tf.minimum(tf.sqrt(area / aspect), 1.0)


def _boxes(extents, place_draws):
    """`(batch, 4)`: top, left, bottom and right, in [0, 1]."""
    starts = [(1 - extent) * place for extent, place in zip(extents, tf.unstack(place_draws))]
    ends = [start + extent for start, extent in zip(starts, extents)]
    return tf.stack([*starts, *ends], axis=1)


def _resized(x, boxes, kind):
    """What lies in each box, bilinearly brought to the size of the whole."""
    if kind == "video":  # All frames at once, as channels.
        frames, height, width, channels = x.shape[1:]
        folded = tf.reshape(
            tf.transpose(x, [0, 2, 3, 1, 4]), [-1, height, width, frames * channels]
        )
        cut = tf.reshape(_resized(folded, boxes, "image"), [-1, height, width, frames, channels])
        return tf.transpose(cut, [0, 3, 1, 2, 4])
    return tf.image.crop_and_resize(x, boxes, tf.range(tf.shape(x)[0]), x.shape[1:3])


def _in_other_light(x, contrast_draws, brightness_draws):
    singles = [-1] + [1] * (len(x.shape) - 1)
    contrast = tf.reshape(_between(contrast_draws, 1 - CONTRAST, 1 + CONTRAST), singles)
    brightness = tf.reshape(_between(brightness_draws, -BRIGHTNESS, BRIGHTNESS), singles)
    mean = tf.reduce_mean(x, axis=range(1, len(x.shape)), keepdims=True)
    return tf.clip_by_value((x - mean) * contrast + mean + brightness, 0.0, 1.0)
