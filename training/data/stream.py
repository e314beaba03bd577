"""Training batches as a pure function of (seed, step): resuming is arithmetic."""

import dataclasses
import os
import re
import socket

import numpy as np
import tensorflow as tf

from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of each batch are made here, of several workers with as many replicas each.

    Attributes:
        worker: Which worker this is.
        workers: How many there are.
        replicas: How many devices they have together.
    """

    worker: int = 0
    workers: int = 1
    replicas: int = 1

    def of(self, whole, axis=0):
        """The rows of what was drawn for a whole batch."""
        return tf.split(whole, self.workers, axis)[self.worker]


WHOLE = Share()


def ends_at_once(batches):
    """The dataset without the tuner of tf.data, which sleeps longer and longer between its turns.

    Where cores are busy the end of an iterator now and then waits until it wakes: for up to two
    thirds of the time the iterator ran, a minute at most. Without it a map makes as many batches at
    a time as there are cores, 16 at most.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def example_stream(
    examples, task, batch_size, seed, start_step, end_step, data_service="", share=WHOLE
):
    """Batches of the steps from `start_step` up to `end_step`, exclusive.

    Each example comes once an epoch, in an order that depends on the seed and the epoch. What is
    drawn for the task depends on the seed, the step and the place in the batch.

    Args:
        examples: Array or memory map `(examples, ...)`.
        task: `task(stored, seed)` makes a batch of some stored examples `(batch, ...)`; all it
            draws follows from the stateless seed. Of a share it is given the rows alone.
        batch_size: Examples in a batch, over all devices.
        seed: Integer from which everything follows.
        start_step, end_step: Range of steps.
        data_service: Address of a dispatcher of tf.data service whose workers make the batches,
            such as "grpc://host:5050"; with several workers they may come in another order. A
            memory map must lie where the workers see it, and fit in the memory of each. "" makes
            them in this process.
        share: The rows of each batch to make: those of all shares are the batch. Of several
            replicas they come as one smaller batch after the other, one for each of this worker's.

    Returns:
        A `tf.data.Dataset` of what the task gives.
    """
    num_examples = len(examples)

    def batch_of(step):
        position = step * batch_size + share.of(tf.range(batch_size, dtype=tf.int64))
        epoch, place = position // num_examples, position % num_examples
        # A batch may span two epochs, so each index has its own seed. The raw op, because
        # `tf.random.experimental.index_shuffle` pads the wrong axis of such seeds.
        index = tf.raw_ops.RandomIndexShuffle(
            index=place,
            seed=tf.stack([0 * epoch, 0 * epoch + seed, epoch], axis=1),
            max_index=tf.constant(num_examples - 1, tf.int64),
            rounds=4,
        )
        return task(gather(index), step_seed(seed, step))

    gather = _gather(examples, data_service)
    batches = tf.data.Dataset.range(start_step, end_step)
    batches = batches.map(batch_of, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if data_service:
        service = tf.data.experimental.service
        # Each step is made by one worker, once.
        batches = batches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, data_service))
    if share.replicas > share.workers:
        batches = batches.rebatch(batch_size // share.replicas, drop_remainder=True)
    return ends_at_once(batches.prefetch(2))


def refuse_unreachable(address):
    """Raises `UserError` if no tf.data service is there: TensorFlow would wait and say nothing."""
    parts = re.fullmatch(r"grpc://(.+):(\d+)", address)
    try:
        if not parts:
            raise OSError("it must be such as grpc://host:5050")
        socket.create_connection((parts[1], int(parts[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--data_service={address} cannot be reached: {error}.") from error


def evaluation_stream(examples, task, batch_size, share=WHOLE, apart=False):
    """All examples in their order, batch by batch: what `task(stored, index)` makes of them.

    Args:
        examples: As for `example_stream`.
        task: Given some stored examples `(batch, ...)` and their numbers, int64 `(batch,)`.
        batch_size: Of all batches but the last, which may be smaller.
        share: Whose batches to make. With several replicas each has as many batches, of as many
            examples to within one: an empty one would have no mean, and some ops fail on it.
        apart: Whether those of a batch come from all over the examples, whose neighbours may be
            alike; for a number of examples that divides by the batch size.
    """
    gather = _gather(examples)
    index = tf.data.Dataset.range(len(examples)).batch(batch_size)
    if share.replicas > 1:
        index = _evenly(len(examples), batch_size, share)
    if apart:
        rounds = max(len(examples) // batch_size, 1)
        index = index.map(lambda i: i % batch_size * rounds + i // batch_size)
    batches = index.map(lambda i: task(gather(i), i), tf.data.AUTOTUNE, deterministic=True)
    return ends_at_once(batches.prefetch(2))


def _evenly(num_examples, batch_size, share):
    """Numbers of examples, batch by batch, that the replicas of one worker take in turn."""
    rounds = -(-num_examples // batch_size)
    count = share.replicas * max(1, min(rounds, num_examples // share.replicas))
    cuts = np.arange(count + 1) * num_examples // count
    batches = tf.data.Dataset.from_tensor_slices((cuts[:-1], cuts[1:]))
    return batches.shard(share.workers, share.worker).map(tf.range)


def _gather(examples, data_service=""):
    """A function from numbers `(batch,)` to the examples, inside `tf.data`."""
    if not isinstance(examples, np.memmap):
        in_memory = tf.constant(examples)
        return lambda index: tf.gather(in_memory, index)
    if data_service:
        return _gather_by_path(examples)

    def gather(index):
        # TensorFlow itself would read the whole file into memory.
        rows = tf.numpy_function(examples.__getitem__, [index], examples.dtype, stateful=False)
        return tf.ensure_shape(rows, (*index.shape, *examples.shape[1:]))

    return gather


def _gather_by_path(examples):
    """As `_gather`, for other processes: each reads the file into its memory, once."""
    path, dtype, shape = os.path.abspath(examples.filename), examples.dtype, examples.shape
    if os.path.getsize(path) != examples.nbytes:
        raise ValueError(
            f"A memory map must be of a whole file without a header. Received: {shape} {dtype} of "
            f"{path}, which has {os.path.getsize(path)} bytes"
        )
    return lambda index: tf.gather(
        tf.raw_ops.ImmutableConst(dtype=dtype, shape=shape, memory_region_name=path), index
    )


def step_seed(seed, step):
    """A stateless seed for what is drawn in a step."""
    return tf.random.experimental.stateless_fold_in(tf.constant([seed, 0], tf.int64), step)


def batched(examples, function, batch_size=256):
    """Applies `function` to an array in batches and gives an array: memory stays small."""
    parts = range(0, len(examples), batch_size)
    return np.concatenate([np.asarray(function(examples[i : i + batch_size])) for i in parts])
