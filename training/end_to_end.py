"""An encoder trained together with its head, from few labels."""

import keras
import numpy as np

from training import heads
from training.data import recordings, stream
from training.data.examples import as_inputs
from training.retrained import Retrained


class Standardize(keras.layers.Layer):
    """Takes features to one scale, by a centre and a scale that are assigned, not learnt."""

    def build(self, shape):
        self.center = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False)
        super().build(shape)

    def call(self, features):
        return (features - self.center) / self.scale


class EndToEnd:
    """Trains an encoder and a head together, anew from the same start for each labelled set.

    To be made in the scope of the strategy they are to train under, if there is one.

    Args:
        encoder: A built Keras layer, trainable, from a batch of inputs to embeddings, as it is to
            begin each time.
        input_shape: Of one input.
        answers: `heads.Answers`.
        config: A `TransferConfig`.
    """

    def __init__(self, encoder, input_shape, answers, config):
        keras.utils.set_random_seed(config.seed)
        self.encoder = encoder
        self.answers = answers
        self.standardize = Standardize()
        head = heads.layers(answers, config)
        optimizer = heads.make_optimizer(config)
        # The decay of the heads would wipe out an encoder.
        optimizer.exclude_from_weight_decay(var_list=encoder.trainable_variables)
        self.retrained = Retrained(
            [keras.Input(input_shape), encoder, self.standardize, *head],
            optimizer,
            answers.loss(),
            config,
        )

    def score(self, train, test):
        """Trains on `train` and measures on `test`.

        Each window of a recording is learnt from with the label of the recording; what is answered
        for a recording is the mean over its windows. Early stopping goes by single windows, of
        recordings that are held out whole.

        Args:
            train, test: `(inputs, starts, labels)`: stored windows `(windows, ...)`, where each
                recording begins `(recordings,)`, and its labels.

        Returns:
            As of `Answers.measure`.
        """
        inputs, starts, labels = train
        self.retrained.restart()
        # The features of the encoder as it starts out.
        features = stream.batched(inputs, lambda x: self.encoder(as_inputs(x), training=False))
        center, scale = heads.center_and_scale(features)
        self.standardize.center.assign(center)
        self.standardize.scale.assign(scale)
        counts = np.diff(starts, append=len(inputs))
        targets = np.repeat(self.answers.targets(labels), counts, axis=0)
        self.retrained.fit(inputs, targets, starts)
        outputs = recordings.pooled(self.retrained.outputs(test[0], batch_size=256), test[1])
        return self.answers.measure(outputs, test[2], labels)
