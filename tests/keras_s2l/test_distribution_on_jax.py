"""On several devices of JAX and in several processes `fit` gives what it gives on one device."""

import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_s2l  # noqa: F401  An encoder is loaded with it.
from tests.replicas import ROOT

pytestmark = pytest.mark.slow
# Compiles in half the time; as right.
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
runpy.run_module("tests.trained_on_jax", run_name="__main__")
"""
# Of float32: the numbers differed by 2e-6 at most, losses are about 4.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


def run_together(arguments, environments, folder):
    """Runs `tests.trained_on_jax` once for each of the environments, all at a time."""
    folder.mkdir()
    logs = [folder / f"log_{i}" for i in range(len(environments))]
    files = [folder / f"numbers_{i}.npz" for i in range(len(environments))]
    processes = []
    try:
        for log, file, environment in zip(logs, files, environments):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments, file],
                    stdout=log.open("w"),
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": ROOT, **environment},
                )
            )
        for process, log in zip(processes, logs):
            assert process.wait(timeout=300) == 0, log.read_text()
    finally:
        for process in processes:
            process.kill()  # JAX has processes outlive a SIGTERM.
            process.wait()
    return [dict(np.load(file)) for file in files]


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    flags = f"--xla_force_host_platform_device_count=2 {QUICKLY}"
    folder = tmp_path_factory.mktemp("jax") / "devices"
    return run_together(["devices"], [{"XLA_FLAGS": flags}], folder)[0]


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environments = [
        {
            "XLA_FLAGS": QUICKLY,
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(i),
        }
        for i in range(2)
    ]
    folder = tmp_path_factory.mktemp("jax") / "processes"
    return folder, run_together(["process"], environments, folder)


@pytest.mark.parametrize("what", ["losses", "weights"])
@pytest.mark.parametrize("loss", ["sampled", "ranks", "classes"])
def test_two_devices_train_as_one_on_given_orders(devices, loss, what):
    one, two = (devices[f"{count}/{loss} {what}"] for count in (1, 2))
    assert what == "weights" or one[-1] < 0.8 * one[0]
    np.testing.assert_allclose(two, one, **ROUNDING)


@pytest.mark.parametrize("what", ["drawn", "evaluated", "scores", "embeddings"])
def test_two_devices_draw_evaluate_and_predict_as_one(devices, what):
    np.testing.assert_allclose(devices[f"2/{what}"], devices[f"1/{what}"], **ROUNDING)


def test_each_device_computes_its_share_only(devices):
    assert set(devices["2/devices"]) == {2}
    assert tuple(devices["1/share"]) == (8, 8) and tuple(devices["2/share"]) == (4, 8)


def test_each_example_of_the_batch_and_each_step_has_an_order_of_its_own(devices):
    orders = devices["2/orders"]
    np.testing.assert_array_equal(orders, devices["1/orders"])
    np.testing.assert_array_equal(np.sort(orders, axis=2), np.broadcast_to(np.arange(8), (3, 8, 8)))
    assert len({tuple(order) for order in orders.reshape(-1, 8)}) == 24


@pytest.mark.parametrize("count", [1, 2])
def test_the_loss_draws_other_noise_at_each_step(devices, count):
    np.testing.assert_array_equal(devices[f"{count}/states"], [[2, 1], [2, 2], [2, 3]])


def test_batch_normalisation_sees_the_batch_of_all_devices(devices):
    patches = devices["x"][:8].reshape(8, 8, 4, 4).swapaxes(1, 2).reshape(32, 32)
    features = patches @ devices["1/kernel"]

    def updated(variance):
        return 0.99 + 0.01 * variance

    halves = updated((features[:16].var(axis=0) + features[16:].var(axis=0)) / 2)
    assert np.abs(halves - updated(features.var(axis=0))).max() > 1e-5
    for count in (1, 2):
        given = devices[f"{count}/moving_variance"]
        np.testing.assert_allclose(given, updated(features.var(axis=0)), atol=1e-6)


def test_jittered_patches_are_where_their_offsets_say(devices):
    assert devices["jittered"].shape == (20, 4, 3, 7, 1)
    for x, offsets, patches in zip(devices["x"], devices["offsets"], devices["jittered"]):
        for place, (down, right) in enumerate(offsets):
            top, left = 4 * (place // 2) + down, 8 * (place % 2) + right
            np.testing.assert_array_equal(patches[place], x[top : top + 3, left : left + 7])


def test_a_batch_that_does_not_divide_is_refused_and_one_without_a_distribution_is_not(devices):
    assert "should evenly divide the shape" in str(devices["uneven"])
    one, two = (devices[f"{count}/uneven embeddings"] for count in (1, 2))
    assert one.shape[0] == 13
    np.testing.assert_allclose(two, one, **ROUNDING)


def test_two_processes_train_as_one_device(devices, processes):
    for numbers in processes[1]:
        for what in ("losses", "weights"):
            np.testing.assert_allclose(numbers[what], devices[f"1/sampled {what}"], **ROUNDING)
        for what in ("drawn", "evaluated"):
            np.testing.assert_allclose(numbers[what], devices[f"1/{what}"], **ROUNDING)
        embeddings = devices["1/embeddings"][numbers["mine"]]
        np.testing.assert_allclose(numbers["embeddings"], embeddings, **ROUNDING)


def test_the_examples_of_the_docs_run(devices, processes):
    folder, numbers = processes
    assert devices["docs"].shape[0] == 64 and np.isfinite(devices["docs"]).all()
    for own in numbers:
        assert own["docs"].shape[0] == 32 and np.isfinite(own["docs"]).all()
    encoder = keras.models.load_model(folder / "encoder.keras")  # On TensorFlow.
    assert np.isfinite(encoder.predict(np.zeros((2, 98, 60, 1)), verbose=0)).all()
