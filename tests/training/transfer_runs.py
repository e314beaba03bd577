"""Small transfers, for processes under a strategy and for one that tells what is right."""

import dataclasses
import pathlib
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_s2l
from export import saved_model
from training import heads, records, retrained, transfer_lib
from training.config import TransferConfig
from training.data import sets
from training.data.examples import Examples

SHAPE = (24, 24, 1)


def labelled_pictures(config, split):
    """Noise with a bright band, whose place is the label."""
    del config
    count = 60 if split == "train" else 41
    random = np.random.default_rng(count)
    place = random.integers(0, 3, count)
    band = np.arange(24) // 8 == place[:, None]
    pictures = random.integers(0, 130, (count, 24, 24)) + 90 * band[..., None]
    return Examples("image", pictures[..., None].astype("uint8"), {"place": place})


def write_pictures(folder):
    """The same as files, with a `labels.csv`."""
    folder.mkdir()
    lines = ["path,label,split"]
    for split in ("train", "test"):
        examples = labelled_pictures(None, split)
        for number, place in enumerate(examples.labels["place"]):
            name = f"{split}_{number:02}.png"
            Image.fromarray(examples.inputs[number, ..., 0]).save(folder / name)
            lines.append(f"{name},{place},{split}")
    (folder / "labels.csv").write_text("\n".join(lines))


def export(folder):
    """An encoder whose weights and statistics are not those it would begin with."""
    keras.utils.set_random_seed(7)
    model = keras_s2l.ShuffleToLearn(keras_s2l.image_backbone(1, (4, 8)), 3, "height")
    model.build((None, *SHAPE))
    for variable in model.encoder.variables:
        variable.assign(variable + 0.1 * np.random.default_rng(1).random(variable.shape))
    dimensions = model.encoder.compute_output_shape((None, *SHAPE))[-1]
    metadata = {
        "name": "small",
        "input": {"kind": "image", "shape": SHAPE},
        "embedding": "levels",
        "dimensions": dimensions,
        "architectures": {"levels": keras.saving.serialize_keras_object(model.encoder)},
    }
    saved_model.write(model.encoder, tf.TensorSpec((None, *SHAPE)), folder)
    records.write_json(pathlib.Path(folder) / "metadata.json", metadata)


def run(encoder, workdir, **changes):
    """A transfer with two labelled sets.

    Returns:
        What was answered for the test examples, `(heads, examples, classes)`, and how many training
        steps were traced.
    """
    small = {"load": labelled_pictures, "shape": SHAPE, "tasks": {"place": sets.Task("test")}}
    digits = dataclasses.replace(sets.SETS["digit_scenes"], **small)
    few = {"num_labels": (20, 40), "seeds": 1, "head_steps": 12, "head_batch_size": 16}
    few |= {"head_units": 16, "early_stopping": True}  # It is looked at twice.
    config = TransferConfig(data="digit_scenes", encoder=encoder, **few)
    answered, traced = [], []

    def measure(answers, outputs, *labels):
        answered.append(outputs)
        return real_measure(answers, outputs, *labels)

    def train_step(network, data):
        traced.append(network)
        return real_train_step(network, data)

    real_measure, real_train_step = heads.Answers.measure, retrained.Network.train_step
    with (
        mock.patch.dict(sets.SETS, digit_scenes=digits),
        mock.patch.object(heads.Answers, "measure", measure),
        mock.patch.object(retrained.Network, "train_step", train_step),
    ):
        transfer_lib.run(dataclasses.replace(config, **changes), workdir)
    return np.stack(answered), len(traced)
