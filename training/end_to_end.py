"""An encoder trained together with its head, from few labels."""

import keras
import numpy as np
import tensorflow as tf

from training import heads
from training.data import recordings, stream
from training.data.examples import as_inputs


class EndToEnd:
    """Trains an encoder and a head together, anew from the same start for each labelled set.

    Args:
        encoder: A built Keras layer, trainable, from a batch of inputs to embeddings.
        start: Values of its variables, to begin with each time.
        answers: `heads.Answers`.
        config: A `TransferConfig`.
    """

    def __init__(self, encoder, start, answers, config):
        self.encoder = encoder
        self.start = start
        self.answers = answers
        self.config = config

    def score(self, train, test):
        """Trains on `train` and measures on `test`.

        Each window of a recording is learnt from with the label of the recording; what is answered
        for a recording is the mean over its windows.

        Args:
            train, test: `(inputs, starts, labels)`: stored windows `(windows, ...)`, where each
                recording begins `(recordings,)`, and its labels.

        Returns:
            As of `Answers.measure`.
        """
        for variable, value in zip(self.encoder.variables, self.start, strict=True):
            variable.assign(value)
        inputs, starts, labels = train
        model = self._model(inputs)
        counts = np.diff(starts, append=len(inputs))
        targets = np.repeat(self.answers.targets(labels), counts, axis=0)
        batches = heads.batches(inputs, targets, self.config)
        model.fit(
            batches.map(lambda stored, target: (as_inputs(stored), target)),
            steps_per_epoch=self.config.head_steps,
            verbose=0,
            shuffle=False,
        )
        predict = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
        outputs = stream.batched(test[0], lambda stored: predict(as_inputs(stored)))
        outputs = recordings.pooled(outputs, test[1])
        return self.answers.measure(outputs, test[2], labels)

    def _model(self, inputs):
        """The encoder, its features brought to one scale as it starts out, and a head."""
        keras.utils.set_random_seed(self.config.seed)
        embeddings = stream.batched(inputs, lambda x: self.encoder(as_inputs(x), training=False))
        center, scale = heads.center_and_scale(embeddings)
        model = keras.Sequential(
            [
                keras.Input(inputs.shape[1:]),
                self.encoder,
                keras.layers.Normalization(mean=center, variance=scale**2),
                *heads.layers(self.answers, self.config),
            ]
        )
        optimizer = heads.make_optimizer(self.config)
        # The decay of the heads would wipe out an encoder.
        optimizer.exclude_from_weight_decay(var_list=self.encoder.trainable_variables)
        # XLA's convolutions are the slower ones on CPU.
        model.compile(optimizer=optimizer, loss=self.answers.loss(), jit_compile=False)
        return model
