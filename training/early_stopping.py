"""Early stopping, as in the paper: what is trained from labels is kept as it told others best."""

import keras
import numpy as np

LOOK_EVERY = 10  # Steps.
HELD_OUT = 0.2  # Of the labels.


def parts(count, seed):
    """Which of the labelled recordings are trained on, and which say when to stop.

    Args:
        count: Of all of them.
        seed: Of the draw.

    Returns:
        Numbers of recordings, in their order, twice.
    """
    order = np.random.default_rng(seed).permutation(count)
    kept = count - round(HELD_OUT * count)
    return np.sort(order[:kept]), np.sort(order[kept:])


class KeepBest(keras.callbacks.Callback):
    """Ends with the weights of least loss, of those at every `LOOK_EVERY` steps and at the end.

    Steps that are executed at once must be so many, or divide it: it looks between executions.

    Args:
        loss: Function without arguments, of what is held out.
        steps: Of the whole training.
    """

    def __init__(self, loss, steps):
        super().__init__()
        self.loss = loss
        self.steps = steps
        self.least = np.inf
        self.best = []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % LOOK_EVERY and batch + 1 < self.steps:
            return
        loss = self.loss()
        if loss < self.least:
            self.least = loss
            self.best = [(variable, variable.numpy()) for variable in self.model.variables]

    def on_train_end(self, logs=None):
        for variable, value in self.best:
            variable.assign(value)
