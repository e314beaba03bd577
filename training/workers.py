"""Which processes train together: what TF_CONFIG, a Slurm step or a Kubernetes job names."""

import contextlib
import os
import signal

import tensorflow as tf

from training import pods
from training.errors import UserError


def cluster():
    """A resolver that names all workers and tells this one its number.

    Raises:
        UserError: If nothing names them.
    """
    if "TF_CONFIG" in os.environ:
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return _slurm()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        cluster_spec, number = pods.task()
        return _numbered(cluster_spec, "worker", number)
    raise UserError(
        "--strategy=multi_worker needs TF_CONFIG, which names all workers and this one, a Slurm "
        "step or a Kubernetes job: set it, or give --strategy=mirrored."
    )


def _slurm():
    """The tasks of the Slurm step, each with the GPUs that Slurm lets it see, or none."""
    # Addresses alone: TensorFlow's own count of GPUs fails on nodes without.
    tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
    slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    return _numbered(slurm.cluster_spec(), *slurm.get_task_info())


def _numbered(cluster_spec, task_type, task_id):
    """The resolver of one worker, with all GPUs that it sees."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster_spec,
        task_type=task_type,
        task_id=task_id,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )


@contextlib.contextmanager
def waiting(resolver):
    """Says who is waited for, and lets Ctrl-C end it: TensorFlow waits an hour without a word."""
    tasks = resolver.cluster_spec().as_dict()
    addresses = [address for job in sorted(tasks) for address in tasks[job]]
    if len(addresses) > 1:
        print(f"Waiting until all {len(addresses)} workers run: {', '.join(addresses)}", flush=True)
    # It holds on to the interpreter meanwhile, which could not run a handler.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
