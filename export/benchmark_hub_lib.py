"""The benchmark of the loading of encoders, and of training steps through a loaded one."""

import copy
import gc
import os
import pathlib
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_hub

from export.model_card import METADATA
from keras_s2l import HubEncoder
from training import records
from training.errors import UserError
from training.markdown import table

WARM_UP = 3  # Steps, the first of which compiles.
CLASSES = 10
GOAL = 1.05
OURS, LOADED, BUILT = "HubEncoder", "hub.load", "Keras layers"
COMPILED = "Keras layers, XLA"  # Which `compile` leaves out where a HubEncoder is trained.


def run(config, workdir):
    """Times loading and training, and writes the report.

    Args:
        config: `BenchmarkHubConfig`.
        workdir: Folder for config.json, report.json and report.md.

    Returns:
        The report.

    Raises:
        UserError: If the settings, the export or the workdir do not fit.
    """
    load_before = os.getloadavg()[0]
    config.check()
    workdir = pathlib.Path(workdir)
    records.refuse_other_run(workdir, config)
    metadata = _metadata(config.export)
    records.write_config(workdir, config)
    loading = _in_turns(
        {
            OURS: lambda: _seconds(HubEncoder, config.export),
            LOADED: lambda: _seconds(tensorflow_hub.load, config.export),
        },
        config.rounds,
    )
    encoders = {OURS: HubEncoder(config.export), BUILT: _built(metadata)}
    _share_weights(*encoders.values())
    inputs = _inputs(metadata, config.batch_size)
    outputs = [np.asarray(encoder(inputs, training=False)) for encoder in encoders.values()]
    encoders[COMPILED] = _built(metadata)
    steps = {
        name: Steps(encoder, inputs, config.steps, jit_compile=name == COMPILED).seconds
        for name, encoder in encoders.items()
    }
    report = {
        "config": records.as_json(config),
        "environment": records.environment(),
        "load_before": round(load_before, 2),
        "parameters": encoders[BUILT].count_params(),
        "largest_difference": float(np.max(np.abs(outputs[0] - outputs[1]))),
        "loading": loading,
        "training": _in_turns(steps, config.rounds),
    }
    records.write_text(workdir / "report.md", page(report))
    records.write_json(workdir / "report.json", report)
    return report


def _metadata(export):
    path = pathlib.Path(export) / METADATA
    if not export or not path.is_file():
        raise UserError(
            f"--export must be a folder that export.export_encoder made, with {METADATA} in it. "
            f"Received: --export={export}."
        )
    return records.read_json(path)


def _built(metadata):
    """The encoder of an export as plain Keras layers."""
    # Keras empties what it reads.
    architecture = metadata["architectures"][metadata["embedding"]]
    encoder = keras.saving.deserialize_keras_object(copy.deepcopy(architecture))
    encoder.build((None, *_example_shape(metadata, None)))
    return encoder


def _share_weights(source, target):
    """Both compute with the same numbers, so that neither is faster for its own."""
    for kind in ("trainable_variables", "non_trainable_variables"):
        pairs = zip(getattr(source, kind), getattr(target, kind), strict=True)
        for loaded, built in pairs:
            built.assign(loaded.numpy())


def _example_shape(metadata, samples):
    of = metadata["input"]
    return (samples,) if of["kind"] == "audio" else tuple(of["shape"])


def _inputs(metadata, batch_size):
    shape = _example_shape(metadata, metadata["input"].get("window_samples"))
    low = -1.0 if metadata["input"]["kind"] == "audio" else 0.0
    random = np.random.default_rng(0)
    return random.uniform(low, 1.0, (batch_size, *shape)).astype("float32")


class Steps:
    """Training steps of an encoder with a head, on one batch again and again."""

    def __init__(self, encoder, inputs, count, jit_compile):
        self.count = count
        self.model = keras.Sequential([encoder, keras.layers.Dense(CLASSES)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile("adam", loss, jit_compile=jit_compile)
        labels = np.arange(len(inputs)) % CLASSES
        batches = tf.data.Dataset.from_tensors((inputs, labels)).cache().repeat()
        self.model.fit(batches, steps_per_epoch=WARM_UP, verbose=0, shuffle=False)
        self._batches = iter(batches)

    def seconds(self):
        """Of a step."""
        began = time.perf_counter()
        for _ in range(self.count):
            logs = self.model.train_function(self._batches)
        float(logs["loss"])  # Until it is computed.
        return (time.perf_counter() - began) / self.count


def _seconds(call, argument):
    gc.collect()  # Not the garbage of whoever came before.
    began = time.perf_counter()
    loaded = call(argument)
    seconds = time.perf_counter() - began
    del loaded  # What is freed is not part of it.
    return seconds


def _in_turns(contenders, rounds):
    """Medians of milliseconds by name, and the ratio of the first to each other."""
    for measure in contenders.values():
        measure()  # To warm up.
    taken = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 else reversed(contenders)
        for name in names:
            taken[name].append(contenders[name]())
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    ours, *others = medians
    return {
        "milliseconds": {name: round(1000 * seconds, 3) for name, seconds in medians.items()},
        "ratio": {name: round(medians[ours] / medians[name], 4) for name in others},
    }


def page(report):
    """report.md."""
    machine, config = report["environment"], report["config"]
    rows = [["", "beside", f"ms, {OURS}", "ms, plain", f"ratio (goal: {GOAL})"]]
    for name, part in (("loading", report["loading"]), ("a training step", report["training"])):
        taken = part["milliseconds"]
        for plain, ratio in part["ratio"].items():
            rows.append([name, plain, f"{taken[OURS]:.1f}", f"{taken[plain]:.1f}", f"{ratio:.3f}"])
    return (
        f"# HubEncoder\n\nAn encoder of {report['parameters']:,} parameters; medians of "
        f"{config['rounds']} turns; batches of {config['batch_size']}. Commit {machine['commit']}; "
        f"{machine['cpu']}, {machine['cpu_cores']} cores; load before {report['load_before']}.\n\n"
        f"{table(rows)}\nLargest difference of embeddings: {report['largest_difference']:.3g}.\n"
    )
