"""Runs a program where a machine has two devices: that must be set before TensorFlow starts."""

import os
import pathlib
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).parents[1]
SET_UP = """
import keras, keras_s2l, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
"""


def run_on_two_replicas(program):
    """Runs `program`, that finds `strategy`, `keras`, `keras_s2l`, `np` and `tf`."""
    output = subprocess.run(
        [sys.executable, "-c", SET_UP + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    assert output.returncode == 0, output.stderr
