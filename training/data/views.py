"""Two views of an example, which a contrastive learner has to find among those of others."""

import dataclasses

import tensorflow as tf

from training.data import crops
from training.data.augmentation import louder

# Choices of ours, after COLA, BYOL-A and SimCLR (which keeps 8 % or more of 224 pixels).
LEAST_AREA = 0.3  # Of a picture or a frame that is kept.
LEAST_TIME = 0.5  # Of a sound that is kept,
LEAST_FREQUENCY = 0.6  # and of its frequencies.
CONTRAST = 0.4  # Pictures have from 0.6 to 1.4 times their contrast,
BRIGHTNESS = 0.2  # and are brighter or darker by so much.
_NUM_DRAWS = 6


@dataclasses.dataclass(frozen=True)
class Views:
    """How views are drawn: a part of the example, as large as all of it, louder or in other light.

    A sound keeps part of its time and of its frequencies: with all of these a single note would be
    told by its pitch alone, and little else be learnt. Frames of a clip are all cut alike. Nothing
    is mirrored: a digit would be none.

    Attributes:
        kind: "audio" for log spectrograms, "image" or "video".
        max_gain_db: Views of sounds are up to so many decibels louder or softer.
    """

    kind: str
    max_gain_db: float = 0.0

    def draws(self, count, seed):
        """What makes the two views of so many examples, from a stateless seed: `(count, 2, 6)`."""
        return tf.random.stateless_uniform([count, 2, _NUM_DRAWS], seed)

    def of(self, x, draws):
        """Two views `(batch, 2, ...)` of each example `(batch, ...)`, as was drawn for it."""
        return tf.stack([self._view(x, draws[:, number]) for number in range(2)], axis=1)

    def _view(self, x, draws):
        draws = tf.unstack(draws, axis=1)
        if self.kind == "audio":
            least = LEAST_TIME, LEAST_FREQUENCY
            extents = [crops.between(draw, low, 1.0) for draw, low in zip(draws[:2], least)]
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
