"""The paper's head on frozen embeddings: a perceptron of three layers."""

import keras
import numpy as np
import tensorflow as tf
from sklearn import metrics


class Head:
    """Three fully connected layers, trained anew from the same start for each labelled set.

    The paper states the three layers; their width, optimizer, weight decay and steps are ours.

    Args:
        dimensions: Size of the embeddings.
        num_classes: Number of classes, or `None` for a regression with squared error.
        config: A `TransferConfig`.
        multi_label: Whether an example may be of several classes, or none: labels are booleans
            `(examples, num_classes)`.
    """

    def __init__(self, dimensions, num_classes, config, multi_label=False):
        keras.utils.set_random_seed(config.seed)
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.config = config
        self.model = keras.Sequential(
            [
                keras.Input((dimensions,)),
                keras.layers.Dense(config.head_units, activation="relu"),
                keras.layers.Dense(config.head_units, activation="relu"),
                keras.layers.Dense(num_classes or 1),
            ]
        )
        learning_rate = keras.optimizers.schedules.CosineDecay(
            config.head_learning_rate, config.head_steps
        )
        if multi_label:
            cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        else:
            cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(
            # Decoupled decay of 1 % of the weights a step: thousands of features, few labels.
            optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=config.head_weight_decay),
            loss=cross_entropy if num_classes else "mean_squared_error",
            jit_compile=False,
            steps_per_execution=min(50, config.head_steps),  # A step is shorter than its dispatch.
        )
        self.model.optimizer.build(self.model.trainable_variables)
        state = [*self.model.variables, *self.model.optimizer.variables]
        self._start = [(variable, variable.numpy()) for variable in state]

    def score(self, train, test):
        """Trains on `train` and measures on `test`, both `(embeddings, labels)`.

        Returns:
            Accuracy; of several labels the mean over the classes of the average precision; of a
            regression the mean squared error in the squared unit of the labels.
        """
        for variable, value in self._start:
            variable.assign(value)
        embeddings, labels = (np.asarray(part) for part in train)
        center, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
        # A feature that hardly moves on the labelled set must not explode on the test set.
        scale = np.maximum(scale, 0.01 * scale.mean() + 1e-12)
        offset, unit = (0, 1) if self.num_classes else (labels.mean(), labels.std() + 1e-6)
        targets = labels if self.num_classes else ((labels - offset) / unit).astype("float32")
        batches = self._batches((embeddings - center) / scale, targets)
        self.model.fit(batches, steps_per_epoch=self.config.head_steps, verbose=0, shuffle=False)
        outputs = self.model.predict((test[0] - center) / scale, batch_size=1024, verbose=0)
        if self.multi_label:
            held = np.asarray(test[1]).any(axis=0)  # A class that no example is of has none.
            return float(metrics.average_precision_score(test[1][:, held], outputs[:, held]))
        if self.num_classes:
            return float(np.mean(outputs.argmax(axis=1) == test[1]))
        return float(np.mean((outputs[:, 0] * unit + offset - test[1]) ** 2))

    def _batches(self, embeddings, targets):
        random = np.random.default_rng(self.config.seed)
        size, steps = self.config.head_batch_size, self.config.head_steps
        epochs = -(-steps * size // len(targets))
        index = np.concatenate([random.permutation(len(targets)) for _ in range(epochs)])
        embeddings, targets = tf.constant(embeddings), tf.constant(targets)
        index = tf.data.Dataset.from_tensor_slices(index[: steps * size].reshape(steps, size))
        return index.map(lambda i: (tf.gather(embeddings, i), tf.gather(targets, i))).prefetch(2)
