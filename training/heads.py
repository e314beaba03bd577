"""What turns embeddings into answers, and how the answers of a task are measured."""

import dataclasses

import keras
import numpy as np
from sklearn import metrics

from training import early_stopping
from training.retrained import Retrained


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a task asks for.

    Attributes:
        num_classes: Of a classification; `None` for a regression with squared error.
        multi_label: Whether an example may be of several classes, or none: labels are booleans
            `(examples, num_classes)`.
        tolerances: Of a regression: errors, in the unit of the labels.
    """

    num_classes: int | None
    multi_label: bool = False
    tolerances: tuple = ()

    def loss(self):
        """Of outputs `(batch, num_classes)`, logits, or `(batch, 1)`."""
        if self.num_classes is None:
            return keras.losses.MeanSquaredError()
        if self.multi_label:
            return keras.losses.BinaryCrossentropy(from_logits=True)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def unit(self, labels):
        """Mean and standard deviation of the labels of a regression, which it is trained in."""
        if self.num_classes is not None:
            return 0.0, 1.0
        return float(labels.mean()), float(labels.std()) + 1e-6

    def targets(self, labels):
        """What the outputs are trained towards."""
        if self.num_classes is not None:
            return labels
        offset, unit = self.unit(labels)
        return ((labels - offset) / unit).astype("float32")

    def measure(self, outputs, labels, training_labels):
        """How good outputs are, a list of numbers.

        The accuracy; of several labels the mean over the classes of the average precision; of a
        regression the mean squared error in the squared unit of the labels, and the share of the
        errors within each tolerance.
        """
        if self.num_classes is None:
            offset, unit = self.unit(training_labels)
            errors = np.abs(outputs[:, 0] * unit + offset - labels)
            shares = [float(np.mean(errors <= tolerance)) for tolerance in self.tolerances]
            return [float(np.mean(errors**2)), *shares]
        if self.multi_label:
            held = np.asarray(labels).any(axis=0)  # A class that no example is of has none.
            return [float(metrics.average_precision_score(labels[:, held], outputs[:, held]))]
        return [float(np.mean(outputs.argmax(axis=1) == labels))]


def layers(answers, config):
    """The head: a perceptron of three layers, as in the paper, or one layer.

    The paper states the three layers; their width, optimizer, weight decay and steps are ours.
    """
    hidden = [] if config.head == "linear" else [config.head_units] * 2
    return [
        *(keras.layers.Dense(units, activation="relu") for units in hidden),
        keras.layers.Dense(answers.num_classes or 1),
    ]


def make_optimizer(config):
    """AdamW, whose first decay is 1 % of the weights by default: many features, few labels."""
    learning_rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.head_steps)
    return keras.optimizers.AdamW(learning_rate, weight_decay=config.head_weight_decay)


def center_and_scale(embeddings):
    """Centre and scale of features; one that hardly moves here must not explode elsewhere."""
    center, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
    return center, np.maximum(scale, 0.01 * scale.mean() + 1e-12)


class Head:
    """A head on frozen embeddings, trained anew from the same start for each labelled set.

    To be made in the scope of the strategy it is to train under, if there is one.

    Args:
        dimensions: Size of the embeddings.
        answers: `Answers`.
        config: A `TransferConfig`.
    """

    def __init__(self, dimensions, answers, config):
        keras.utils.set_random_seed(config.seed)
        self.answers = answers
        at_once = early_stopping.LOOK_EVERY if config.early_stopping else 50
        self.retrained = Retrained(
            [keras.Input((dimensions,)), *layers(answers, config)],
            make_optimizer(config),
            answers.loss(),
            config,
            # A step is shorter than its dispatch.
            steps_per_execution=min(at_once, config.head_steps),
        )

    def score(self, train, test):
        """Trains on `train` and measures on `test`, both `(embeddings, labels)`.

        Returns:
            As of `Answers.measure`.
        """
        self.retrained.restart()
        embeddings, labels = (np.asarray(part) for part in train)
        center, scale = center_and_scale(embeddings)
        scaled, targets = (embeddings - center) / scale, self.answers.targets(labels)
        self.retrained.fit(scaled, targets, starts=np.arange(len(labels)))
        outputs = self.retrained.outputs((test[0] - center) / scale, batch_size=1024)
        return self.answers.measure(outputs, test[1], labels)
