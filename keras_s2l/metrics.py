"""Ranking metrics, called as `metric(order, scores)`; the ranks of the scores are hard."""

import keras
from keras import ops

from keras_s2l.ranking.hard_rank import hard_rank


def _right_places(order, scores):
    """Whether each patch is put where it belongs: `(batch, num_patches)` of 0 and 1."""
    return ops.cast(hard_rank(scores) == ops.cast(order, "int32"), "float32")


def _patch_accuracy(order, scores):
    return ops.mean(_right_places(order, scores), axis=1)


def _exact_order_accuracy(order, scores):
    return ops.min(_right_places(order, scores), axis=1)


@keras.saving.register_keras_serializable(package="keras_s2l")
class PatchAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of patches ranked in their right place: chance is `1 / num_patches`.

    Call with `order` and `scores`, both `(batch, num_patches)`.

    Example:
    >>> PatchAccuracy()(np.array([[0, 1, 2]]), np.array([[2.0, 1.0, 3.0]]))   # 1/3

    Reference: the paper's "partial ranks".
    """

    def __init__(self, name="patch_accuracy", dtype=None):
        super().__init__(_patch_accuracy, name=name, dtype=dtype)
        self._direction = "up"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="keras_s2l")
class ExactOrderAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of examples of which every patch is ranked in its right place.

    Call with `order` and `scores`, both `(batch, num_patches)`.

    Example:
    >>> ExactOrderAccuracy()(np.array([[0, 1, 2]]), np.array([[1.0, 2.0, 3.0]]))   # 1.0
    """

    def __init__(self, name="exact_order_accuracy", dtype=None):
        super().__init__(_exact_order_accuracy, name=name, dtype=dtype)
        self._direction = "up"

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}
