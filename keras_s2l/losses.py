"""Ranking losses, called as `loss(order, scores)`."""

import math

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.perturbed_rank import normal_cdf, normal_density, pairwise_margins
from keras_s2l.ranking.soft_rank import soft_rank


def _orders(order, scores):
    """`order` as a tensor in the dtype of `scores`, once their shapes agree."""
    order = ops.convert_to_tensor(order)
    pairs = zip(order.shape, scores.shape)
    if len(order.shape) != 2 or any(a != b for a, b in pairs if None not in (a, b)):
        raise ValueError(
            "`order` must give one original place for each score: shapes (batch, num_patches) "
            f"both. Received: order of shape {tuple(order.shape)}, scores of shape "
            f"{tuple(scores.shape)}"
        )
    return ops.cast(order, scores.dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class FenchelYoungRankLoss(keras.losses.Loss):
    """Fenchel–Young loss of the perturbed rank, in closed form.

    For each pair of patches of which `i` belongs after `j`, with margin `m = scores_i - scores_j`
    and `s = √2 sigma`, it adds `s φ(m/s) - m Φ(-m/s)`: a hinge smoothed by Gaussian noise. It is
    never negative, goes to 0 as a right order becomes confident, is convex in the scores, and its
    gradient is `perturbed_rank(scores, sigma) - order`.

    Args:
        sigma: Positive float, the standard deviation of the noise.
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example,
            the sum over its pairs.

    Call with `order` `(batch, num_patches)`, numbers of any dtype, each row a permutation of
    `0 … num_patches - 1` (what is not a permutation cannot be seen inside a compiled step, and
    gives a loss that never reaches 0), and `scores` of the same shape.

    Raises:
        ValueError: If `sigma` is not positive, or the shapes differ.

    Example:
    >>> loss = FenchelYoungRankLoss()
    >>> loss(np.array([[0, 1, 2]]), np.array([[-9.0, 0.0, 9.0]]))   # about 0
    >>> loss(np.array([[0, 1, 2]]), np.array([[9.0, 0.0, -9.0]]))   # about 36

    Reference: Berthet et al., 2020, section 4, https://arxiv.org/abs/2002.08676; the paper's
    "perturbed F-Y". The closed form for ranks is ours.
    """

    def __init__(
        self, sigma=1.0, reduction="sum_over_batch_size", name="fenchel_young_rank_loss", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.sigma = _checks.positive_float("sigma", sigma, "try 1.0")

    def call(self, order, scores):
        scores = _checks.scores_matrix(scores)
        scale = math.sqrt(2) * self.sigma
        # Infinite margins would give inf * 0 below.
        margins = ops.clip(pairwise_margins(scores) / scale, -1e18, 1e18)
        order = _orders(order, scores)
        belongs_after = order[:, :, None] > order[:, None, :]
        hinge = normal_density(margins) - margins * normal_cdf(-margins)
        # The difference of two small numbers may come out a rounding error below 0.
        hinge = ops.where(belongs_after, ops.maximum(hinge, 0.0), 0.0)
        return ops.cast(scale * ops.sum(hinge, axis=(1, 2)), scores.dtype)

    def get_config(self):
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="keras_s2l")
class SoftRankLoss(keras.losses.Loss):
    """Half the squared distance between the soft ranks of the scores and the order.

    Args:
        strength: Positive float, of the soft rank.
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example.

    Call with `order` `(batch, num_patches)`, each row a permutation of `0 … num_patches - 1`, and
    `scores` of the same shape.

    Raises:
        ValueError: If `strength` is not positive, or the shapes differ.

    Example:
    >>> SoftRankLoss()(np.array([[0, 1, 2]]), np.array([[1.0, 2.0, 9.0]]))   # 0.0

    Reference: Blondel et al., 2020, section 6, https://arxiv.org/abs/2002.08871; the paper's
    "fast soft ranking".
    """

    def __init__(
        self, strength=1.0, reduction="sum_over_batch_size", name="soft_rank_loss", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        advice = "try 1.0, lower it for harder ranks"
        self.strength = _checks.positive_float("strength", strength, advice)

    def call(self, order, scores):
        ranks = soft_rank(scores, self.strength)
        return 0.5 * ops.sum(ops.square(ranks - _orders(order, ranks)), axis=1)

    def get_config(self):
        return {**super().get_config(), "strength": self.strength}
