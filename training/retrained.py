"""What is trained from few labels, anew from the same start for each labelled set."""

import functools

import keras
import numpy as np
import tensorflow as tf

from keras_s2l import MultiWorkerFit
from training import distribution, early_stopping
from training.data import recordings, stream
from training.data.examples import as_inputs
from training.data.stream import WHOLE


class Network(MultiWorkerFit, keras.Sequential):
    """Layers that also train across workers."""


def batches(inputs, targets, config, share=WHOLE):
    """`head_steps` batches of examples in random order, each once an epoch.

    Args:
        inputs: Array `(examples, ...)`, in memory, of stored or ready inputs.
        targets: Array `(examples, ...)`.
        config: `TransferConfig`.
        share: The rows of each batch to make, as for `stream.example_stream`.
    """
    random = np.random.default_rng(config.seed)
    size, steps = config.head_batch_size, config.head_steps
    epochs = -(-steps * size // len(targets))
    index = np.concatenate([random.permutation(len(targets)) for _ in range(epochs)])
    of_replica = size // share.replicas
    index = index[: steps * size].reshape(steps, share.workers, -1, of_replica)[:, share.worker]
    inputs, targets = tf.constant(inputs), tf.constant(targets)
    index = tf.data.Dataset.from_tensor_slices(index.reshape(-1, of_replica))
    made = index.map(lambda i: (as_inputs(tf.gather(inputs, i)), tf.gather(targets, i)))
    return stream.ends_at_once(made.prefetch(2))


class Retrained:
    """Trains layers from the same start for each labelled set; they are traced once.

    To be made in the scope of the strategy they are to train under, if there is one.

    Args:
        layers: The first is a `keras.Input`.
        optimizer: Not built yet.
        loss: `keras.losses.Loss` of what the last layer gives.
        config: A `TransferConfig`.
        steps_per_execution: Steps that are run at once.
    """

    def __init__(self, layers, optimizer, loss, config, steps_per_execution=1):
        self.config = config
        self.loss = loss
        self.network = Network(layers)
        self.network.compile(
            optimizer=optimizer,
            loss=loss,
            jit_compile=False,  # XLA's convolutions are the slower ones on CPU.
            # Several at once fail under a strategy: "You must feed a value for placeholder".
            steps_per_execution=1 if tf.distribute.has_strategy() else steps_per_execution,
        )
        optimizer.build(self.network.trainable_variables)
        state = [*self.network.variables, *optimizer.variables]
        self._start = [(variable, variable.numpy()) for variable in state]
        # Not `predict`, which does not work across workers.
        self._outputs = tf.function(
            lambda x: self.network(x, training=False), reduce_retracing=True
        )

    def restart(self):
        """Gives all variables the values that they had at first."""
        for variable, value in self._start:
            variable.assign(value)

    def fit(self, inputs, targets, starts):
        """Trains `head_steps` steps, as `batches` makes them.

        With `early_stopping` it holds out a fifth of the recordings, and ends with the weights that
        told their examples best.

        Args:
            inputs, targets: Arrays of examples.
            starts: Where the examples of each recording begin.
        """
        callbacks = []
        if self.config.early_stopping:
            kept, held = (
                recordings.windows_of(starts, len(inputs), chosen)[0]
                for chosen in early_stopping.parts(len(starts), self.config.seed)
            )
            loss = functools.partial(self._loss_of, inputs[held], targets[held])
            callbacks.append(early_stopping.KeepBest(loss, self.config.head_steps))
            inputs, targets = inputs[kept], targets[kept]
        make = functools.partial(batches, inputs, targets, self.config)
        self.network.fit(
            distribution.distributed(self.network.distribute_strategy, make),
            steps_per_epoch=self.config.head_steps,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
        )

    def _loss_of(self, inputs, targets):
        return float(self.loss(targets, self.outputs(inputs, batch_size=256)))

    def outputs(self, inputs, batch_size):
        """What the last layer gives for an array of stored or ready inputs."""
        return stream.batched(inputs, lambda x: self._outputs(as_inputs(x)), batch_size)
