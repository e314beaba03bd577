"""Training batches as a pure function of (seed, step): resuming is arithmetic."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How examples vary from epoch to epoch, so that nothing of a recording is learnt by heart.

    Attributes:
        max_shift: Each begins up to so many time steps late, after zeros, and loses its end.
        max_gain_db: Each is up to so many decibels louder or softer.
    """

    max_shift: int = 0
    max_gain_db: float = 0.0


@dataclasses.dataclass(frozen=True)
class Orders:
    """Which permutations are drawn.

    Attributes:
        num_patches: Length of each.
        permutations: Integers `(num_permutations, num_patches)`, the only ones; None for all.
    """

    num_patches: int
    permutations: np.ndarray | None = None

    def draw(self, count, seed):
        """Permutations int32 `(count, num_patches)` that follow from a stateless seed."""
        if self.permutations is None:
            return tf.argsort(tf.random.stateless_uniform([count, self.num_patches], seed), axis=1)
        last = len(self.permutations)
        chosen = tf.random.stateless_uniform([count], seed, 0, last, tf.int32)
        return tf.gather(tf.constant(self.permutations, tf.int32), chosen)


def example_stream(
    examples, orders, batch_size, seed, start_step, end_step, augmentation=Augmentation()
):
    """Batches `(x, order)` of the steps from `start_step` up to `end_step`, exclusive.

    Each example comes once an epoch, in an order that depends on the seed and the epoch. The
    permutation of its patches, and how it is varied, depend on the seed, the step and its place in
    the batch.

    Args:
        examples: Array `(examples, ...)` in memory: float32 log spectrograms
            `(time, frequency, 1)`, or uint8 pictures, which are given in [0, 1].
        orders: An `Orders`.
        batch_size: Examples in a batch, over all devices.
        seed: Integer from which everything follows.
        start_step, end_step: Range of steps.
        augmentation: An `Augmentation`.

    Returns:
        A `tf.data.Dataset` of `(x, order)`: float32 `(batch_size, ...)`, int32
        `(batch_size, num_patches)`.
    """
    examples = tf.constant(examples)
    num_examples = len(examples)

    def batch_of(step):
        position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
        epoch, place = position // num_examples, position % num_examples
        # A batch may span two epochs, so each index has its own seed. The raw op, because
        # `tf.random.experimental.index_shuffle` pads the wrong axis of such seeds.
        index = tf.raw_ops.RandomIndexShuffle(
            index=place,
            seed=tf.stack([0 * epoch, 0 * epoch + seed, epoch], axis=1),
            max_index=tf.constant(num_examples - 1, tf.int64),
            rounds=4,
        )
        step_seed = _step_seed(seed, step)
        x = _augment(as_floats(tf.gather(examples, index)), augmentation, step_seed)
        return x, orders.draw(batch_size, step_seed)

    steps = tf.data.Dataset.range(start_step, end_step)
    return steps.map(batch_of, num_parallel_calls=2, deterministic=True).prefetch(2)


def _augment(x, augmentation, step_seed):
    batch = tf.shape(x)[:1]
    shift_seed, gain_seed = (
        tf.random.experimental.stateless_fold_in(step_seed, number) for number in (1, 2)
    )
    if augmentation.max_shift:
        last = augmentation.max_shift + 1
        x = delayed(x, tf.random.stateless_uniform(batch, shift_seed, 0, last, tf.int32))
    if augmentation.max_gain_db:
        limit = augmentation.max_gain_db
        x = louder(x, tf.random.stateless_uniform(batch, gain_seed, -limit, limit))
    return x


def fixed_orders(num_examples, orders, seed):
    """The permutations of an evaluation: int32 `(num_examples, num_patches)`, always the same."""
    return orders.draw(num_examples, _step_seed(seed, -1)).numpy()


def as_floats(x):
    """Pictures in [0, 1]; floats as they are."""
    x = tf.convert_to_tensor(x)
    return tf.cast(x, tf.float32) / 255.0 if x.dtype == tf.uint8 else x


def delayed(x, shifts):
    """Each example `(batch, time, ...)` that many time steps later: zeros come in, its end goes."""
    x = tf.convert_to_tensor(x)
    times = tf.shape(x)[1]
    source = tf.range(times)[None, :] - shifts[:, None]
    moved = tf.gather(x, tf.maximum(source, 0), axis=1, batch_dims=1)
    began = tf.reshape(source >= 0, tf.concat([tf.shape(source), [1] * (x.shape.rank - 2)], 0))
    return tf.where(began, moved, tf.zeros_like(moved))


def louder(x, gains_db):
    """Each log spectrogram as `LogSpectrogram` gives it for the waveform at another level."""
    factors = tf.pow(10.0, gains_db / 20)[:, None, None, None]
    return tf.math.log1p(factors * tf.math.expm1(x))


def _step_seed(seed, step):
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), step)


def batched(examples, function, batch_size=256):
    """Applies `function` to an array in batches and gives an array: memory stays small."""
    parts = range(0, len(examples), batch_size)
    return np.concatenate([np.asarray(function(examples[i : i + batch_size])) for i in parts])
