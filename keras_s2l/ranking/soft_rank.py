"""The fast soft rank: projection onto the permutahedron, with its own gradient."""

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._gradients import custom_gradient
from keras_s2l.ranking import isotonic
from keras_s2l.ranking.precision import widened


def soft_rank(scores, strength=1.0):
    """Differentiable rank of each score within its row.

    The ranks are the point of the permutahedron (the convex hull of all orders of
    `0 … num_patches - 1`) nearest to `scores / strength`: as `strength` goes to 0 they are the hard
    ranks, as it grows they go to their mean.

    The gradient is exact. Scores that differ by more than `num_patches` times the strength, and
    infinite ones, are ranked hard. A row that holds a NaN gives a row of NaNs.

    Args:
        scores: Floating tensor of shape `(batch, num_patches)`. float16 and bfloat16 are computed
            in float32, for they would put ranks off by up to 0.5.
        strength: Positive float. Larger is softer: smoother gradients, ranks near their mean.

    Returns:
        Ranks in `[0, num_patches - 1]`, of the shape and dtype of `scores`; the lowest score has
        the lowest rank. Each row sums to `num_patches * (num_patches - 1) / 2`.

    Raises:
        ValueError: If `scores` is not a floating tensor of rank 2 or `strength` is not positive.

    Example:
    >>> soft_rank(np.array([[5.0, 1.0, 2.0]]), strength=2.0)   # [[2.0, 0.25, 0.75]]

    Reference: Blondel et al., Fast Differentiable Sorting and Ranking, 2020, equation 6,
    https://arxiv.org/abs/2002.08871
    """
    scores = _checks.scores_matrix(scores)
    strength = _checks.positive_float("strength", strength, "try 1.0, lower it for harder ranks")
    strength = max(strength, 1e-30)  # Ranks are hard there; less would be 0 in float32.

    @custom_gradient
    def project(scores):
        descending = ops.argsort(-scores, axis=1)
        ascending = ops.argsort(descending, axis=1)
        ordered = ops.take_along_axis(scores, descending, axis=1)
        ranks, same_block = _ranks_of_ordered(ordered, strength)

        def pullback(upstream):  # The Jacobian subtracts the mean within blocks: it is symmetric.
            upstream = ops.take_along_axis(upstream, descending, axis=1)
            gradient = (upstream - isotonic.block_mean(upstream, same_block)) / strength
            return (ops.take_along_axis(gradient, ascending, axis=1),)

        return ops.take_along_axis(ranks, ascending, axis=1), pullback

    return ops.cast(project(widened(scores)), scores.dtype)


def _ranks_of_ordered(scores, strength):
    """Soft ranks of rows in descending order, and which of their entries were pooled together."""
    n = scores.shape[1]
    upper, lower = scores[:, :-1], scores[:, 1:]
    # Only gaps matter. No block crosses a gap above n / 2, so clipping there changes no rank, while
    # offsets of 1e6, scores of 1e30 and strengths of 1e-8 cost no precision.
    gaps = ops.where(upper == lower, ops.zeros_like(upper), (upper - lower) / strength)
    gaps = ops.minimum(gaps, n / 2 + 1)
    heights = ops.flip(ops.cumsum(ops.flip(gaps, axis=1), axis=1), axis=1)
    heights = ops.pad(heights, [(0, 0), (0, 1)])
    hard = ops.arange(n - 1, -1, -1, dtype=scores.dtype)[None] + ops.zeros_like(heights)
    same_block = isotonic.pooled_blocks(heights - hard)
    ranks = (
        heights - isotonic.block_mean(heights, same_block) + isotonic.block_mean(hard, same_block)
    )
    bad = ops.any(ops.isnan(scores), axis=1, keepdims=True)
    return ops.where(bad, ops.full_like(ranks, float("nan")), ranks), same_block


@keras.saving.register_keras_serializable(package="keras_s2l")
class SoftRank(keras.layers.Layer):
    """Replaces each score by its differentiable rank within its row.

    Use it between a score head and a ranking loss; as `strength` goes to 0 it gives hard ranks.

    Args:
        strength: Positive float. Larger is softer: smoother gradients, ranks near their mean.

    Input shape: `(batch, num_patches)` scores. Output shape: the same, in `[0, num_patches - 1]`.

    Example:
    >>> SoftRank(strength=2.0)(np.array([[5.0, 1.0, 2.0]]))   # [[2.0, 0.25, 0.75]]

    Reference: Blondel et al., 2020, https://arxiv.org/abs/2002.08871
    """

    def __init__(self, strength=1.0, **kwargs):
        super().__init__(**kwargs)
        advice = "try 1.0, lower it for harder ranks"
        self.strength = _checks.positive_float("strength", strength, advice)

    def call(self, scores):
        return soft_rank(scores, self.strength)

    def compute_output_shape(self, scores_shape):
        return scores_shape

    def get_config(self):
        return {**super().get_config(), "strength": self.strength}
