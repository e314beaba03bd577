"""Workers find each other, say whom they wait for, and tell when they disagree."""

import signal
import sys
import types
from unittest import mock

import pytest
import tensorflow as tf

from training import distribution, pods, workers
from training.errors import UserError


def cluster_of(*addresses):
    spec = tf.train.ClusterSpec({"worker": list(addresses)})
    return tf.distribute.cluster_resolver.SimpleClusterResolver(spec)


def test_who_is_waited_for_is_said_and_ctrl_c_ends_it(capsys):
    before = signal.getsignal(signal.SIGINT)
    with workers.waiting(cluster_of("host0:5000", "host1:5000")):
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before
    said = "Waiting until all 2 workers run: host0:5000, host1:5000\n"
    assert capsys.readouterr().out == said
    with workers.waiting(cluster_of("host0:5000")):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("across", [False, True])
def test_only_the_end_of_another_worker_is_a_lost_worker(across, monkeypatch):
    monkeypatch.setattr(distribution, "across_workers", lambda strategy: across)
    ours = tf.errors.UnavailableError(None, None, "The tf.data service does not answer")
    theirs = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: reset by peer")
    for error, one_line in [(ours, False), (theirs, across)]:
        expected = UserError if one_line else tf.errors.UnavailableError
        with (
            pytest.raises(expected) as raised,
            distribution.loss_of_a_worker_is_one_line(None, lambda: "it goes on from step 9"),
        ):
            raise error
        assert ("goes on from step 9." in str(raised.value)) == one_line


def test_workers_that_see_other_checkpoints_are_refused(monkeypatch):
    monkeypatch.setattr(distribution, "mean_of_workers", lambda strategy: lambda number: 15.0)
    distribution.refuse_different_steps(None, 15)
    with pytest.raises(UserError, match="goes on from step 10, another one from another step"):
        distribution.refuse_different_steps(None, 10)


def pod(name, address):
    status = types.SimpleNamespace(phase="Running", host_ip="192.168.0.1", pod_ip=address)
    return types.SimpleNamespace(metadata=types.SimpleNamespace(name=name), status=status)


class Refused(Exception):
    status, reason = 403, "Forbidden"


@pytest.fixture
def kubernetes(monkeypatch, tmp_path):
    """The client of a cluster whose pods of the job come up one after the other."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", pods.SELECTOR):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")  # So this one is 127.0.0.1, too.
    monkeypatch.setenv(pods.NUM_WORKERS, "3")
    (tmp_path / "namespace").write_text("ours\n")
    monkeypatch.setattr(pods, "NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(pods, "SECONDS_BETWEEN_LOOKS", 0.0)
    package = mock.MagicMock()
    package.client.ApiException = package.config.ConfigException = Refused
    monkeypatch.setitem(sys.modules, "kubernetes", package)
    all_pods = [pod("job-2", "10.0.0.7"), pod("job-0", "10.0.0.9"), pod("job-1", "127.0.0.1")]
    client = package.client.CoreV1Api.return_value
    client.list_namespaced_pod.side_effect = [
        types.SimpleNamespace(items=all_pods[:count]) for count in (0, 1, 1, 3)
    ]
    return package


@pytest.mark.parametrize("selector", [None, "app=pretraining"])
def test_a_pod_waits_for_all_of_its_job_and_finds_its_number(
    selector, kubernetes, monkeypatch, capsys
):
    if selector:
        monkeypatch.setenv(pods.SELECTOR, selector)
    cluster = workers.cluster()
    addresses = ["10.0.0.9:8470", "127.0.0.1:8470", "10.0.0.7:8470"]  # By the names of the pods.
    assert cluster.cluster_spec().as_dict() == {"worker": addresses}
    assert (cluster.task_type, cluster.task_id, cluster.rpc_layer) == ("worker", 1, "grpc")
    kubernetes.config.load_incluster_config.assert_called_once_with()
    kubernetes.client.CoreV1Api.return_value.list_namespaced_pod.assert_called_with(
        "ours",
        label_selector=selector or "job-name=tensorflow",
        field_selector="status.phase=Running",
    )
    said = capsys.readouterr().out.splitlines()
    label = f"pods run with the label {selector or 'job-name=tensorflow'}"
    assert said == [f"0 of 3 {label}", f"1 of 3 {label}"]


def test_a_pod_that_cannot_find_itself_is_told_in_one_line(kubernetes, monkeypatch):
    monkeypatch.setenv(pods.NUM_WORKERS, "1")
    with pytest.raises(UserError, match=r"This pod, 127\.0\.0\.1, is none of .*: 10\.0\.0\.7\."):
        workers.cluster()
    kubernetes.client.CoreV1Api.return_value.list_namespaced_pod.side_effect = Refused
    with pytest.raises(UserError, match=r"does not list pods here \(403 Forbidden\)"):
        workers.cluster()
    kubernetes.config.load_incluster_config.side_effect = Refused("no token")
    with pytest.raises(UserError, match="no service account to list pods with: no token"):
        workers.cluster()
    monkeypatch.delenv(pods.NUM_WORKERS)
    with pytest.raises(UserError, match="needs the number of pods in NUM_WORKERS"):
        workers.cluster()
    monkeypatch.setenv(pods.NUM_WORKERS, "3")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(UserError, match="pip install kubernetes"):
        workers.cluster()
