"""The pods of a Kubernetes job as workers."""

import os
import pathlib
import socket
import time

import tensorflow as tf

from training.errors import UserError

SELECTOR = "WORKER_SELECTOR"  # Environment variables.
NUM_WORKERS = "NUM_WORKERS"
NAMESPACE = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SECONDS_BETWEEN_LOOKS = 2.0


def task():
    """All workers and the number of this one, as soon as all run.

    Returns:
        A `tf.train.ClusterSpec` and the number.

    Raises:
        UserError: If what it takes is not there.
    """
    expected = _expected()
    selector = os.environ.get(SELECTOR, "job-name=tensorflow")
    resolver = tf.distribute.cluster_resolver.KubernetesClusterResolver(
        {"worker": [selector]}, override_client=_RunningPods()
    )
    said = None
    while len(found := resolver.cluster_spec().as_dict().get("worker", [])) != expected:
        if found != said:
            print(f"{len(found)} of {expected} pods run with the label {selector}", flush=True)
        said = found
        time.sleep(SECONDS_BETWEEN_LOOKS)
    addresses = [address.rpartition(":")[0] for address in found]
    if _own_address() not in addresses:
        raise UserError(
            f"This pod, {_own_address()}, is none of those with the label {selector}: "
            f"{', '.join(addresses)}. Set {SELECTOR} to the label of its job."
        )
    return tf.train.ClusterSpec({"worker": found}), addresses.index(_own_address())


def _expected():
    """The number of workers, which no pod can see: some may not have begun."""
    try:
        return int(os.environ[NUM_WORKERS])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"--strategy=multi_worker on Kubernetes needs the number of pods in {NUM_WORKERS}, or "
            "TF_CONFIG."
        ) from error


class _RunningPods:
    """The client as TensorFlow's resolver uses it, which would take addresses of machines.

    Raises:
        UserError: Without the package that lists pods, or where it may not.
    """

    def __init__(self):
        try:
            import kubernetes
        except ImportError as error:
            raise UserError(
                "--strategy=multi_worker on Kubernetes needs TF_CONFIG, or the package that lists "
                "pods: pip install kubernetes."
            ) from error
        try:
            kubernetes.config.load_incluster_config()
        except kubernetes.config.ConfigException as error:
            raise UserError(
                f"This pod has no service account to list pods with: {error}"
            ) from error
        self.client = kubernetes.client.CoreV1Api()
        self.refused = kubernetes.client.ApiException

    def list_pod_for_all_namespaces(self, label_selector):
        try:
            pods = self.client.list_namespaced_pod(
                NAMESPACE.read_text().strip(),
                label_selector=label_selector,
                field_selector="status.phase=Running",  # Not those that ended, of an earlier try.
            )
        except self.refused as error:
            raise UserError(
                f"Kubernetes does not list pods here ({error.status} {error.reason}): allow it to "
                "the service account of the job."
            ) from error
        for pod in pods.items:
            pod.status.host_ip = pod.status.pod_ip  # A machine may run several.
        return pods


def _own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect((os.environ["KUBERNETES_SERVICE_HOST"], 443))  # Sends nothing.
        return any_socket.getsockname()[0]
