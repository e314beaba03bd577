"""The one place that makes a `tf.distribute` strategy, and what training under one needs.

The batch size is that of all replicas together, and what the pipeline draws does not depend on
them: several train as one does, to rounding.
"""

import contextlib

import tensorflow as tf

from keras_s2l.multi_worker import across_workers
from training import workers
from training.data.stream import WHOLE, Share
from training.errors import UserError


def make_strategy(name):
    """A strategy over all devices there are; to be made before TensorFlow does anything else.

    Args:
        name: "none" for the one device that TensorFlow takes by itself, "mirrored" for the GPUs of
            this machine, "multi_worker" for those of all machines that TF_CONFIG, the Slurm
            step or the Kubernetes job names, "tpu" for the cores of the TPU that TPU_NAME names.

    Raises:
        UserError: If there are no such devices.
    """
    make = {
        "none": tf.distribute.get_strategy,
        "mirrored": tf.distribute.MirroredStrategy,
        "multi_worker": _multi_worker,
        "tpu": _tpu,
    }
    try:
        return make[name]()
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"--strategy={name} cannot start: {first_line}") from error


def _multi_worker():
    cluster = workers.cluster()
    with workers.waiting(cluster):
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)


def _tpu():
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def share_gpus():
    """Has TensorFlow take memory of GPUs as it needs it, not all: several processes use them."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def check_batch_size(strategy, batch_size, name="batch_size"):
    """Raises `UserError` for a batch, of the flag of this name, that cannot be shared evenly."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"--{name} must divide by the {replicas} devices that share it. Received: "
            f"{batch_size}; the next one is {-(-batch_size // replicas) * replicas}."
        )


def check_jit_compile(strategy, jit_compile):
    """Raises `UserError` where XLA cannot compile a step of several devices.

    Keras would have it compile those of a process as one, and it does not add up over the
    processors of several workers; over their GPUs it has not been tried.
    """
    replicas = strategy.num_replicas_in_sync
    if not jit_compile or replicas == 1:
        return
    kind = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0]).device_type
    if kind != "TPU":
        raise UserError(
            f"--jit_compile does not work for {replicas} {kind} devices together: leave it out, or "
            "give --strategy=none."
        )


def is_chief(strategy):
    """Whether this process is the one of all workers that writes what the run leaves."""
    return not across_workers(strategy) or strategy.extended.should_checkpoint


def distributed(strategy, make):
    """Batches as `fit` and `evaluate` take them.

    Args:
        strategy: As `make_strategy` gives it.
        make: `make(share)` gives the `tf.data.Dataset` of a `Share`. Nothing is dealt out again.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make(WHOLE)
    return strategy.distribute_datasets_from_function(
        lambda context: make(
            Share(context.input_pipeline_id, context.num_input_pipelines, replicas)
        )
    )


def mean_of_workers(strategy):
    """A function that gives all workers the mean of a number that each has: all must call it."""
    if not across_workers(strategy):
        return float

    @tf.function
    def mean(number):
        return strategy.reduce("MEAN", strategy.run(tf.identity, (number,)), axis=None)

    return lambda number: float(mean(tf.constant(number, tf.float64)))  # All steps are exact.


def any_worker(strategy):
    """A function that tells all workers whether a flag is set in one of them: all must call it."""
    mean = mean_of_workers(strategy)
    return lambda flag: mean(flag) > 0


def refuse_different_steps(strategy, step):
    """Raises `UserError` unless all workers have restored the same step: all must call it."""
    if mean_of_workers(strategy)(step) != step:
        raise UserError(
            f"This worker goes on from step {step}, another one from another step: --workdir must "
            "be the same folder for all, and show all the same files."
        )


@contextlib.contextmanager
def loss_of_a_worker_is_one_line(strategy, what_then):
    """Makes one line of what TensorFlow raises when another worker has ended.

    Args:
        strategy: As `make_strategy` gives it.
        what_then: Function that says what the same command does when started again.

    Raises:
        UserError: If another worker was lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not across_workers(strategy) or "Collective ops is aborted" not in str(error):
            raise
        raise UserError(
            "Another worker was lost, or ended with an error of its own. Start the same command on "
            f"all workers again: {what_then()}."
        ) from error


def gathered(x):
    """The rows of all replicas, one replica after the other, and the number of this one.

    Outside of a step that replicas run together they are the rows given. Gradients go back to the
    replica that a row came from.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x, 0
    return context.all_gather(x, axis=0), context.replica_id_in_sync_group
