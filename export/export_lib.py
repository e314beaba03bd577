"""From the workdir of a finished run to a SavedModel that has been checked."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

import keras_s2l
from export import saved_model
from training import models, pretrain_lib, records
from training.checkpoints import load_weights
from training.config import PretrainConfig
from training.errors import UserError
from training.recipes import RECIPES

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(workdir, output):
    """Exports the encoder of a run and checks it in a fresh process.

    Args:
        workdir: Folder of a finished run of `training.pretrain`.
        output: Folder to make.

    Raises:
        UserError: If the run is not finished, `output` holds something, or the check fails.
    """
    workdir, output = pathlib.Path(workdir), pathlib.Path(output)
    weights = workdir / pretrain_lib.FINAL_WEIGHTS
    if not weights.is_file():
        raise UserError(
            f"--workdir={workdir} holds no {pretrain_lib.FINAL_WEIGHTS}: let "
            f"`python -m training.pretrain --workdir={workdir}` run to its end first."
        )
    config = records.load_config(workdir, PretrainConfig)
    if config is None or pretrain_lib.finished(config, workdir) is None:
        raise UserError(
            f"--workdir={workdir} holds a run that has been given more steps and not ended: let "
            f"`python -m training.pretrain --workdir={workdir}` run to its end first."
        )
    form = pretrain_lib.form_in(workdir)
    encoder = make_encoder(config, form, weights)
    inputs = _inputs(config, form)
    try:
        saved_model.write(encoder, inputs, _metadata(config, form, workdir, encoder), output)
    except FileExistsError as error:
        raise UserError(
            f"--output={output} holds something already, and nothing is ever overwritten: give a "
            "new folder, or remove it."
        ) from error
    print(_check_in_fresh_process(encoder, config, form, output))
    print(f"Exported {workdir} to {output}")


def make_encoder(config, form, weights):
    """The encoder of examples of a config and a form, with weights from a file."""
    trained = models.make_model(config, form)
    load_weights(trained, weights)
    # Whatever the precision it was trained in, users get float32.
    model = models.make_model(dataclasses.replace(config, precision="float32"), form)
    model.set_weights(trained.get_weights())
    if form.kind != "audio":
        return model.encoder
    encoder = keras_s2l.WaveformEncoder(
        models.make_frontend(config), model.encoder, config.window_samples, name="waveform_encoder"
    )
    encoder.build((None, None))
    return encoder


def _inputs(config, form):
    """The spec of a batch: waveforms of any length, or pictures of one size."""
    if form.kind == "audio":
        return tf.TensorSpec((None, None), tf.float32, name="waveforms")
    return tf.TensorSpec(models.input_shape(config, form), tf.float32, name="pictures")


def _metadata(config, form, workdir, encoder):
    report = records.read_json(workdir / "report.json")
    of_audio = {
        "layout": "(batch, samples)",
        "range": [-1.0, 1.0],
        "sample_rate": config.sample_rate,
        "window_samples": config.window_samples,
    }
    shape = _inputs(config, form).shape
    frames = "frames, " if form.kind == "video" else ""
    of_pictures = {
        "layout": f"(batch, {frames}height, width, channels)",
        "range": [0.0, 1.0],
        "shape": shape[1:].as_list(),
    }
    of_kind = of_audio if form.kind == "audio" else of_pictures
    return {
        "name": _name(config),
        "input": {"kind": form.kind, "dtype": "float32", **of_kind, "data": config.data},
        "embedding": config.embedding,
        "dimensions": encoder.compute_output_shape(tuple(shape))[-1],
        "pretrained": {name: report[name] for name in ("config", "held_out", "environment")},
    }


def _name(config):
    """That of the recipe, and of the data where they are not the recipe's."""
    if config.data == RECIPES[config.recipe]().data:
        return f"keras_s2l/{config.recipe}"
    return f"keras_s2l/{config.recipe}-{pathlib.Path(config.folder).name or config.data}"


def _random_inputs(config, form):
    """Batches that take each way through the graph."""
    random = np.random.default_rng(0)
    if form.kind != "audio":
        return [random.uniform(0, 1, (3, *models.input_shape(config, form)[1:]))]
    # Shorter than a window, one window, and several.
    lengths = [tenths * config.window_samples // 10 for tenths in (5, 10, 25)]
    return [random.uniform(-1, 1, (3, length)) for length in lengths]


def _check_in_fresh_process(encoder, config, form, output):
    """The line that `export.verify` prints, once it is content."""
    pairs = {}
    for number, inputs in enumerate(_random_inputs(config, form)):
        pairs[f"inputs_{number}"] = inputs.astype("float32")
        embeddings = encoder(pairs[f"inputs_{number}"], training=False)
        pairs[f"embeddings_{number}"] = np.asarray(embeddings)
    with tempfile.TemporaryDirectory() as folder:
        expected = pathlib.Path(folder) / "expected.npz"
        np.savez(expected, **pairs)
        command = [sys.executable, "-m", "export.verify"]
        command += [f"--export={output.resolve()}", f"--expected={expected}"]
        check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if check.returncode != 0:
        said = (check.stdout or check.stderr).strip().splitlines() or ["nothing"]
        raise UserError(
            f"The export in {output} does not match its checkpoint; nothing was removed. "
            f"export.verify says: {said[-1]}"
        )
    return check.stdout.strip()
