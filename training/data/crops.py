"""Parts of sounds, pictures and clips, brought to the size of the whole."""

import tensorflow as tf


def between(draws, low, high):
    """Numbers from draws in [0, 1]."""
    return low + (high - low) * draws


def extents(area_draws, aspect_draws, least_area):
    """Shares of the height and of the width: a random area, from 3:4 to 4:3."""
    area = between(area_draws, least_area, 1.0)
    aspect = tf.exp(between(aspect_draws, tf.math.log(3 / 4), tf.math.log(4 / 3)))
    return tf.minimum(tf.sqrt(area * aspect), 1.0), tf.minimum(tf.sqrt(area / aspect), 1.0)


def boxes(extents, place_draws):
    """`(batch, 4)`: top, left, bottom and right, in [0, 1]."""
    starts = [(1 - extent) * place for extent, place in zip(extents, place_draws)]
    ends = [start + extent for start, extent in zip(starts, extents)]
    return tf.stack([*starts, *ends], axis=1)


def resized(x, boxes):
    """What lies in each box, bilinearly brought to the size of the whole."""
    if len(x.shape) == 5:  # Frames of a clip alike: at once, as channels.
        frames, height, width, channels = x.shape[1:]
        folded = tf.reshape(
            tf.transpose(x, [0, 2, 3, 1, 4]), [-1, height, width, frames * channels]
        )
        cut = tf.reshape(resized(folded, boxes), [-1, height, width, frames, channels])
        return tf.transpose(cut, [0, 3, 1, 2, 4])
    return tf.image.crop_and_resize(x, boxes, tf.range(tf.shape(x)[0]), x.shape[1:3])
