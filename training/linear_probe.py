"""The linear probe: linear models of scikit-learn, penalised as much as suits the labels."""

import warnings

import numpy as np
from sklearn import linear_model, model_selection
from sklearn.exceptions import ConvergenceWarning

from training import heads

# C of scikit-learn: the larger, the weaker the penalty. Of equally good ones the first is taken:
# what is tested, other speakers or instruments, is less like the labels than what is held out.
STRENGTHS = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0)
HELD_OUT, ROUNDS = 0.2, 3
FEWEST, STRENGTH_OF_FEWER = 20, 0.1  # To hold out some of fewer labels would tell nothing.
MAX_ITERATIONS = 100


class LinearProbe:
    """Logistic regression on frozen embeddings, ridge regression for numbers.

    How much weights are penalised is chosen on the labels alone: by three random fifths of them,
    held out in turn, where they are 20 or more; of a regression by leaving out each in turn.

    Args:
        answers: `heads.Answers`.
        config: A `TransferConfig`, whose seed says which fifths.
    """

    def __init__(self, answers, config):
        self.answers = answers
        self.seed = config.seed

    def score(self, train, test):
        """Trains on `train` and measures on `test`, both `(embeddings, labels)`.

        Returns:
            As of `Answers.measure`.
        """
        embeddings, labels = (np.asarray(part) for part in train)
        center, scale = heads.center_and_scale(embeddings)
        x, x_test = ((part - center) / scale for part in (embeddings, test[0]))
        if x.shape[0] < x.shape[1]:
            # Penalised weights lie in the span of the examples: its coordinates, as many as there
            # are labels, give the same as thousands of features, in less time.
            basis = np.linalg.qr(x.T)[0]
            x, x_test = x @ basis, x_test @ basis
        return self.answers.measure(self._outputs(x, labels, x_test), test[1], labels)

    def _outputs(self, x, labels, x_test):
        if self.answers.num_classes is None:
            ridge = linear_model.RidgeCV([1 / strength for strength in STRENGTHS])
            return ridge.fit(x, self.answers.targets(labels)).predict(x_test)[:, None]
        return self._logits(x, labels, x_test, self._strength(x, labels))

    def _strength(self, x, labels):
        """The one that is best on the labels that are held out, on average."""
        if len(labels) < FEWEST:
            return STRENGTH_OF_FEWER
        parts = model_selection.ShuffleSplit(ROUNDS, test_size=HELD_OUT, random_state=self.seed)
        parts = list(parts.split(x))

        def score(strength):
            scores = []
            for kept, held in parts:
                if self.answers.multi_label and not labels[held].any():
                    continue  # Without any class there is no precision.
                logits = self._logits(x[kept], labels[kept], x[held], strength)
                scores += self.answers.measure(logits, labels[held], labels[kept])
            return np.mean(scores or [0.0])

        return max(STRENGTHS, key=score)

    def _logits(self, x, labels, x_test, strength):
        """`(examples, num_classes)`; a class that no label is of comes last."""
        if self.answers.multi_label:
            each = [_of_seen(x, present, x_test, strength)[:, -1] for present in labels.T]
            return np.stack(each, axis=1)
        logits = np.full((len(x_test), self.answers.num_classes), -np.inf)
        logits[:, np.unique(labels)] = _of_seen(x, labels, x_test, strength)
        return logits


def _of_seen(x, labels, x_test, strength):
    """Logits of each class that some label is of, in their order."""
    if len(np.unique(labels)) == 1:
        return np.zeros((len(x_test), 1))
    model = linear_model.LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # A penalty so weak that it takes longer is hardly ever the one that is chosen.
        warnings.simplefilter("ignore", ConvergenceWarning)
        logits = model.fit(x, labels).decision_function(x_test)
    return np.stack([-logits, logits], axis=1) if logits.ndim == 1 else logits
