"""Statistics of batch normalisation that belong to the weights there are."""

import contextlib

import keras
import numpy as np


class PreciseBatchStatistics(keras.callbacks.Callback):
    """Makes the moving averages of batch normalisation means over batches that the weights see now.

    The averages that training leaves behind are of weights that have moved on, and of the last few
    batches more than of others: a model that normalises by them may be worth much less than in
    training, and changes from one evaluation to the next. Before each evaluation within `fit`, and
    at the end, the model sees some batches in training mode, which changes no weights, and the
    averages become the plain means of the statistics of these batches. Training goes on as if
    nothing had happened, for it normalises by its own batches.

    Layers that are frozen, or that are not batch normalisations of Keras, stay as they are; so do
    batch normalisations within a SavedModel.

    Args:
        batches: A function that gives batches of inputs, as the model is called with: some thousand
            examples that vary as in training. It is called each time.

    Raises:
        ValueError: At an evaluation, if `batches` gives none.

    Example:
    >>> precise = PreciseBatchStatistics(lambda: np.split(spectrograms[:1280], 20))
    >>> model.fit(spectrograms, validation_data=(held_out,), callbacks=[precise])

    Reference: Wu and Johnson, 2021, "Rethinking 'Batch' in BatchNorm", section 3,
    https://arxiv.org/abs/2105.07576
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        self._step = None  # Of the last time.

    def on_train_begin(self, logs=None):
        self._step = None  # Another model may end at the same step.

    def on_test_begin(self, logs=None):
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if step != self._step:
            self._step = step
            take_statistics(self.model, self.batches())

    def on_train_end(self, logs=None):
        self.on_test_begin()


def take_statistics(model, batches):
    """Makes the moving averages of a model means over batches of inputs.

    Args:
        model: A built Keras model.
        batches: Iterable of what the model is called with.

    Raises:
        ValueError: If there are no batches; nothing has changed then.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not layers:
        return
    averages = [weight for layer in layers for weight in layer.non_trainable_weights]
    of_batches = []
    # A call in training mode changes the states from which layers draw, too.
    with _last_batch_only(layers), _unchanged(model.non_trainable_variables):
        for batch in batches:
            model(batch, training=True)
            of_batches.append([keras.ops.convert_to_numpy(average) for average in averages])
    if not of_batches:
        raise ValueError("`batches` must give batches of inputs. Received none")
    for average, values in zip(averages, zip(*of_batches)):
        average.assign(np.mean(values, axis=0, dtype="float64"))


@contextlib.contextmanager
def _unchanged(variables):
    """Gives them back what they hold."""
    values = [keras.ops.copy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)


@contextlib.contextmanager
def _last_batch_only(layers):
    """Within it averages are those of the last batch alone."""
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
