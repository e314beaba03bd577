"""Configs that hold other layers."""

import copy

import keras


def restored(config, *names):
    """A config whose nested layers, of these names, are layers again.

    Keras empties the config of a functional model while reading it: a copy, for it is the caller's.
    """
    config = copy.deepcopy(config)
    return {
        **config,
        **{name: keras.saving.deserialize_keras_object(config[name]) for name in names},
    }
