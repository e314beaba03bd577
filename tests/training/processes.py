"""Processes that train together, each with as many devices as it is told."""

import json
import os
import socket
import subprocess
import sys
import textwrap

from tests.replicas import ROOT


def run_program(program, **environment):
    """Starts a process of its own, with two devices, that finds `run` and `tf`."""
    prologue = """
        import dataclasses, functools, os, signal, sys
        import tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * int(os.environ["DEVICES"])
        tf.config.set_logical_device_configuration(cpu, devices)
        tf.config.experimental.enable_op_determinism()
        from tests.training import distributed_runs
        from training import callbacks, distribution, material, pretrain_lib
        distribution.make_strategy = functools.cache(distribution.make_strategy)
        distributed_runs.use_small_set()
        distributed_runs.use_momentum()
        material.STATISTICS_BATCHES = 2  # Each costs as much as a step.

        def run(workdir, **changes):
            return pretrain_lib.run(distributed_runs.small_config(**changes), workdir)
    """
    return _start(["-c", textwrap.dedent(prologue) + textwrap.dedent(program)], environment)


def run_command(module, flags, **environment):
    """Starts a program of ours as a user does, with flags by name."""
    return _start(["-m", module, *(f"--{name}={x}" for name, x in flags.items())], environment)


def _start(arguments, environment):
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", **environment},
    )


def wait_for(*processes):
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def two_clusters():
    """TF_CONFIG of two workers on this machine."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]


def run_on_two_workers(programs):
    wait_for(
        *(
            run_program(program, DEVICES="1", TF_CONFIG=cluster)
            for program, cluster in zip(programs, two_clusters(), strict=True)
        )
    )
