"""Training batches as a pure function of (seed, step): resuming is arithmetic."""

import numpy as np
import tensorflow as tf


def example_stream(examples, num_patches, batch_size, seed, start_step, end_step, max_shift=0):
    """Batches `(x, order)` of the steps from `start_step` up to `end_step`, exclusive.

    Each example comes once an epoch, in an order that depends on the seed and the epoch. The
    permutation of its patches, and how far it is shifted in time, depend on the seed, the step and
    its place in the batch.

    Args:
        examples: Array `(examples, time, ...)`, in memory.
        num_patches: Length of the permutations.
        batch_size: Examples in a batch, over all devices.
        seed: Integer from which everything follows.
        start_step, end_step: Range of steps.
        max_shift: Each example begins up to so many time steps late, after zeros, and loses its
            end: an augmentation that leaves nothing of a recording to be learnt by heart.

    Returns:
        A `tf.data.Dataset` of `(x, order)`: float `(batch_size, time, ...)`, int32
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
        shifts = tf.random.stateless_uniform(
            [batch_size],
            tf.random.experimental.stateless_fold_in(step_seed, 1),
            0,
            max_shift + 1,
            tf.int32,
        )
        return delayed(tf.gather(examples, index), shifts), _orders(
            step_seed, batch_size, num_patches
        )

    steps = tf.data.Dataset.range(start_step, end_step)
    return steps.map(batch_of, num_parallel_calls=2, deterministic=True).prefetch(2)


def fixed_orders(num_examples, num_patches, seed):
    """The permutations of an evaluation: int32 `(num_examples, num_patches)`, always the same."""
    return _orders(_step_seed(seed, -1), num_examples, num_patches).numpy()


def delayed(x, shifts):
    """Each example `(batch, time, ...)` that many time steps later: zeros come in, its end goes."""
    x = tf.convert_to_tensor(x)
    times = tf.shape(x)[1]
    source = tf.range(times)[None, :] - shifts[:, None]
    moved = tf.gather(x, tf.maximum(source, 0), axis=1, batch_dims=1)
    began = tf.reshape(source >= 0, tf.concat([tf.shape(source), [1] * (x.shape.rank - 2)], 0))
    return tf.where(began, moved, tf.zeros_like(moved))


def _step_seed(seed, step):
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), step)


def _orders(step_seed, batch_size, num_patches):
    return tf.argsort(tf.random.stateless_uniform([batch_size, num_patches], step_seed), axis=1)


def batched(examples, function, batch_size=256):
    """Applies `function` to an array in batches and gives an array: memory stays small."""
    parts = range(0, len(examples), batch_size)
    return np.concatenate([np.asarray(function(examples[i : i + batch_size])) for i in parts])
