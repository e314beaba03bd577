"""The fast soft rank: projection onto the permutahedron, with its own gradient."""

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._compiled import alive, computed_once
from keras_s2l._gradients import differentiable
from keras_s2l.ranking import isotonic, sorting
from keras_s2l.ranking.blocks import block_sums
from keras_s2l.ranking.heights import heights_and_targets
from keras_s2l.ranking.projections import REGULARIZATIONS, project
from keras_s2l.ranking.rows import (
    DIRECTIONS,
    checked_strength,
    count_real,
    from_rows,
    ranks_from_rows,
    scores_to_rows,
    to_rows,
)
from keras_s2l.ranking.scans import extended, take_along_rows

LOG_RANGE = 50.0  # No row has e^50 scores.


def soft_rank(scores, strength=1.0, regularization="l2", direction="ascending", axis=-1, mask=None):
    """Differentiable rank of each score within its row.

    With "l2" the ranks are the point of the permutahedron (the convex hull of all orders of
    `0 … n - 1`) nearest to `scores / strength`; with "kl" the point of the permutahedron of
    `1 … n` nearest to `exp(scores / strength)` in relative entropy, less 1. As `strength` goes to
    0 they are the hard ranks, as it grows "l2" ranks go to their mean.

    The gradient is exact, and finite at every strength. There is no second derivative: where it is
    asked for, it is zero; `perturbed_rank` has all of them. A row that holds a NaN gives a row of
    NaNs and leaves the others alone.

    Args:
        scores: Floating tensor of rank 1 or more, infinities included; equal ones are ties.
            float16 and bfloat16 are computed in float32.
        strength: Positive float. Larger is softer. `rank_strengths` tells the bounds of what it
            does to given scores.
        regularization: "l2" or "kl". "l2" ranks are exactly hard below a strength, and piecewise
            linear; "kl" ranks are smooth between ties and depend on the ratio of ranks.
        direction: "ascending": the lowest score has rank 0; "descending": the highest.
        axis: Integer, the axis along which scores are ranked.
        mask: Booleans of the shape of `scores`, true where a slot is real; None if all are. Absent
            slots take no part, have rank -1 and no gradient.

    Returns:
        Ranks in `[0, n - 1]`, of the shape and dtype of `scores`. Each row of m real slots sums to
        `m * (m - 1) / 2`.

    Raises:
        ValueError: If `scores` is not floating, `strength` is not positive, `regularization` or
            `direction` has another value, `axis` is no axis of `scores`, or `mask` is not boolean
            and of its shape.

    Example:
    >>> soft_rank(np.array([[5.0, 1.0, 2.0]]), strength=2.0)   # [[2.0, 0.25, 0.75]]

    Reference: Blondel et al., Fast Differentiable Sorting and Ranking, 2020, equation 6,
    https://arxiv.org/abs/2002.08871
    """
    return project(_soft_ranks, scores, strength, regularization, direction, axis, mask)


def _forward(scores, strength, mask=None, *, regularization, direction, axis):
    """Ranks, and what the gradient needs, as rows: ranks and the number of the block of each."""
    values, present, undefined = scores_to_rows(scores, mask, direction, axis)
    count = count_real(values, present)
    if regularization == "l2":
        deviation = _deviation(values, present, count)
        # Scores as near to their mean as this are one block, whatever their order: no sum of the
        # k highest deviations can then exceed k (n - k) / 2. There is nothing to sort.
        near = ops.abs(deviation) <= 0.2499 * strength * ops.cast(count, values.dtype)
        one_block = ops.all(near)
        ranks, blocks = ops.cond(
            one_block,
            lambda: _linear_ranks(deviation, present, count, strength),
            lambda: _pooled_ranks(values, count, strength, regularization),
        )
    else:
        ranks, blocks = _pooled_ranks(values, count, strength, regularization)
    return ranks_from_rows(ranks, present, undefined, scores, axis), strength, mask, ranks, blocks


def _backward(upstream, strength, mask, ranks, blocks, *, regularization, direction, axis):
    dtype = upstream.dtype
    rows = ops.cast(to_rows(upstream, axis), ranks.dtype)
    if mask is not None:
        rows = ops.where(to_rows(mask, axis), rows, 0.0)
    # The Jacobian subtracts the mean within blocks, for "kl" weighted by the ranks: symmetric.
    if regularization == "l2":
        total, size = block_sums(blocks, rows, ops.ones_like(rows))
        gradient = (rows - total / size) / strength
    else:
        weights = ranks + 1
        total, weight = block_sums(blocks, weights * rows, weights)
        gradient = weights * (rows - total / weight) / strength
        # Alone in its block: no rounding error may be divided by a small strength.
        gradient = ops.where(weight == weights, 0.0, gradient)
    if mask is not None:
        gradient = ops.where(to_rows(mask, axis), gradient, 0.0)
    gradient = -gradient if direction == "descending" else gradient
    return ops.cast(from_rows(gradient, upstream, axis), dtype)


_soft_ranks = differentiable(_forward, _backward)


def _pooled_ranks(values, count, strength, regularization):
    """Ranks of rows and, as the number of its block, the place where the block of each starts."""
    ordered = computed_once(sorting.descending(values), alive(values))
    places = ops.arange(ops.shape(values)[1], dtype="int32")[None]
    hard = ops.cast(count - 1 - places, values.dtype)
    heights, targets = heights_and_targets(ordered, count, strength, regularization)
    levels, starts = isotonic.pool(isotonic.Rows(heights, targets, regularization, LOG_RANGE))
    ranks = heights - levels if regularization == "l2" else ops.exp(heights - levels) - 1
    next_start = extended(starts[:, 1:], 0, 1, 1 << 30)
    alone = ops.logical_and(starts == places, next_start > places)
    ranks = ops.where(alone, hard, ranks)
    fence = alive(values)
    starts, ranks = computed_once(starts, fence), computed_once(ranks, fence)
    where_put = computed_once(sorting.count_above(ordered, values), fence)
    return take_along_rows(ranks, where_put), take_along_rows(starts, where_put)


def _deviation(values, present, count):
    """Of each real slot from the mean of its row; 0 for absent ones."""
    if present is None:
        offset = values - values[:, :1]  # An infinite one leaves NaN, which is near to nothing.
    else:
        highest = ops.max(values, axis=1, keepdims=True, initial=-float("inf"))
        offset = ops.where(present, values - highest, 0.0)
    count = ops.cast(ops.maximum(count, 1), values.dtype)
    deviation = offset - ops.sum(offset, axis=1, keepdims=True) / count
    return deviation if present is None else ops.where(present, deviation, 0.0)


def _linear_ranks(deviation, present, count, strength):
    """Ranks where all scores of a row are one block."""
    blocks = ops.cast(ops.isnan(deviation), "int32")  # 0, in each row of a `vectorized_map`.
    if present is not None:
        blocks = ops.where(present, blocks, ops.shape(deviation)[1] - 1)  # A block of their own.
    return ops.cast(count - 1, deviation.dtype) / 2 + deviation / strength, blocks


@keras.saving.register_keras_serializable(package="keras_s2l")
class SoftRank(keras.layers.Layer):
    """Replaces each score by its differentiable rank within its row.

    Use it between a score head and a ranking loss; as `strength` goes to 0 it gives hard ranks.

    Args:
        strength: Positive float. Larger is softer: smoother gradients, ranks near their mean.
        regularization: "l2" or "kl", as in `soft_rank`.
        direction: "ascending": the lowest score has rank 0; "descending": the highest.
        axis: Integer, the axis along which scores are ranked, counted with the batch.

    Call with scores of any rank and, if slots are absent, `mask`: booleans of their shape.

    Input shape: `(batch, n)` scores, or any other. Output shape: the same, in `[0, n - 1]`.

    Raises:
        ValueError: If an argument has another value.

    Example:
    >>> SoftRank(strength=2.0)(np.array([[5.0, 1.0, 2.0]]))   # [[2.0, 0.25, 0.75]]

    Reference: Blondel et al., 2020, https://arxiv.org/abs/2002.08871
    """

    def __init__(self, strength=1.0, regularization="l2", direction="ascending", axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.strength = checked_strength("strength", strength)
        self.regularization = _checks.one_of("regularization", regularization, REGULARIZATIONS)
        self.direction = _checks.one_of("direction", direction, DIRECTIONS)
        self.axis = axis

    def call(self, scores, mask=None):
        settings = (self.strength, self.regularization, self.direction, self.axis)
        return soft_rank(scores, *settings, mask=mask)

    def compute_mask(self, scores, mask=None):
        return None  # It has been heeded; losses would multiply their values by it.

    def compute_output_shape(self, scores_shape):
        return scores_shape

    def get_config(self):
        own = ("strength", "regularization", "direction", "axis")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
