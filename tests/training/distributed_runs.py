"""Small runs, for processes that train under a strategy and for those that tell what is right."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from training import distribution, material, models
from training.data import sets
from training.data.examples import Examples
from training.recipes import RECIPES

EXAMPLES, HELD_OUT = 40, 21  # 21 is uneven for any number of replicas.


def pictures(config, split):
    """Pictures that are brighter towards one corner."""
    del config
    count = EXAMPLES if split == "train" else HELD_OUT
    random = np.random.default_rng(count)
    slope = np.arange(24)[:, None] * 3 + np.arange(24) * 2
    noise = random.integers(0, 130, (count, 24, 24))
    return Examples("image", (noise + slope)[..., None].astype("uint8"))


def write_pictures(folder):
    """The same as files."""
    folder.mkdir()
    for number, picture in enumerate(pictures(None, "train").inputs[..., 0]):
        Image.fromarray(picture).save(folder / f"{number}.png")


def use_small_set(patch=sets.SETS.__setitem__):
    small = dataclasses.replace(sets.SETS["digit_scenes"], load=pictures, shape=(24, 24, 1))
    patch("digit_scenes", small)
    return small


def small_config(**changes):
    """Of a short run on the small set."""
    few = {"steps": 20, "batch_size": 8, "evaluate_every": 10, "hidden_units": 8}
    own = {"gap": 0, "jitter": 2, "num_permutations": 20}
    return dataclasses.replace(RECIPES["digit_scenes"](), **{**few, **own, **changes})


def use_momentum():
    """SGD in place of Adam, which makes of the rounding of a gradient near 0 a step."""
    keras.optimizers.Adam = lambda rate: keras.optimizers.SGD(rate, momentum=0.9)


def _in_floatx(make):
    """The batches of `make(share)`, whose inputs and draws are float32, as Keras is set to."""

    def cast(x):
        return tf.cast(x, keras.config.floatx()) if x.dtype.is_floating else x

    def cast_all(*batch):
        batch = tf.nest.map_structure(cast, batch)
        return batch if len(batch) > 1 else batch[0]

    return lambda share: make(share).map(cast_all)


def train(strategy, config):
    """Weights after all steps, the mean loss so far after each, and what is measured at the end."""
    data_set = use_small_set()
    with strategy.scope():
        model = models.make_model(config, data_set)
    of_kind = functools.partial(material.batches_of, config, "image")
    train, held_out = (data_set.load(config, split).inputs for split in ("train", "test"))
    batches = _in_floatx(functools.partial(of_kind, train, 0, config.steps))
    losses = []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: losses.append(logs["loss"])
    )
    model.fit(
        distribution.distributed(strategy, batches), callbacks=[keep], verbose=0, shuffle=False
    )
    validation = _in_floatx(functools.partial(material.validation_of, config, "image", held_out))
    measured = model.evaluate(
        distribution.distributed(strategy, validation), verbose=0, return_dict=True
    )
    return model.get_weights(), losses, measured
