"""Two views of an example, which a contrastive learner has to find among those of others."""

import dataclasses

import tensorflow as tf

from training.data import crops
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
            extents = crops.between(draws[0], LEAST_TIME, 1.0), tf.ones([batch])
        else:
            extents = crops.extents(draws[0], draws[1], LEAST_AREA)
        x = crops.resized(x, crops.boxes(extents, draws[2:4]))
        if self.kind == "audio":
            return louder(x, self.max_gain_db * crops.between(draws[4], -1.0, 1.0))
        return _in_other_light(x, draws[4], draws[5])


def _in_other_light(x, contrast_draws, brightness_draws):
    singles = [-1] + [1] * (len(x.shape) - 1)
    contrast = tf.reshape(crops.between(contrast_draws, 1 - CONTRAST, 1 + CONTRAST), singles)
    brightness = tf.reshape(crops.between(brightness_draws, -BRIGHTNESS, BRIGHTNESS), singles)
    mean = tf.reduce_mean(x, axis=range(1, len(x.shape)), keepdims=True)
    return tf.clip_by_value((x - mean) * contrast + mean + brightness, 0.0, 1.0)
