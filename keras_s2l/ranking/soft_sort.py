"""The fast soft sort: the projection of evenly spaced values onto a permutahedron of scores."""

from keras import ops

from keras_s2l._gradients import differentiable
from keras_s2l.ranking import isotonic
from keras_s2l.ranking.blocks import block_sums
from keras_s2l.ranking.projections import project
from keras_s2l.ranking.rows import (
    count_real,
    from_rows,
    scores_to_rows,
    to_rows,
)
from keras_s2l.ranking.scans import take_along_rows


def soft_sort(scores, strength=1.0, regularization="l2", direction="ascending", axis=-1, mask=None):
    """Differentiable sort of each row.

    With "l2" the result is the point of the permutahedron of the scores (the convex hull of all
    their orders) nearest to `(1, …, n) / strength`; with "kl" its logarithmic counterpart. As
    `strength` goes to 0 it is the sorted row; as it grows all of it goes to the mean, which for
    "kl" is `log(mean(exp(scores)))`, or `-log(mean(exp(-scores)))` if ascending. There is no second
    derivative: where it is asked for, it is zero.

    Args:
        scores: Floating tensor of rank 1 or more, finite. float16 and bfloat16 are computed in
            float32.
        strength: Positive float, in the inverse of the unit of the scores. Larger is softer.
        regularization: "l2" or "kl".
        direction: "ascending": the lowest comes first; "descending": the highest.
        axis: Integer, the axis along which scores are sorted.
        mask: Booleans of the shape of `scores`, true where a slot is real; None if all are. The m
            real slots of a row come first, sorted; the rest is 0 and has no gradient.

    Returns:
        Tensor of the shape and dtype of `scores`. A row with a NaN is NaN.

    Raises:
        ValueError: If `scores` is not floating, `strength` is not positive, `regularization` or
            `direction` has another value, `axis` is no axis of `scores`, or `mask` is not boolean
            and of its shape.

    Example:
    >>> soft_sort(np.array([5.0, 1.0, 2.0]), strength=0.1)   # [1.0, 2.0, 5.0]

    Reference: Blondel et al., Fast Differentiable Sorting and Ranking, 2020, equation 5,
    https://arxiv.org/abs/2002.08871
    """
    return project(_sorted, scores, strength, regularization, direction, axis, mask)


def _forward(scores, strength, mask=None, *, regularization, direction, axis):
    """Sorted rows, and what the gradient needs: where each score went, its block, its weight."""
    # Rows are sorted from the highest; ascending is that of the negated scores, negated.
    flipped = "descending" if direction == "ascending" else "ascending"
    values, present, undefined = scores_to_rows(scores, mask, flipped, axis)
    order = ops.argsort(-values, axis=1)
    places = ops.cast(ops.argsort(order, axis=1), "int32")
    ordered = take_along_rows(values, ops.cast(order, "int32"))
    slots = ops.arange(ops.shape(values)[1], dtype="int32")[None]
    real = ops.ones_like(ordered, dtype="bool")
    if present is not None:
        real = slots < count_real(values, present)
        # Absent slots go down so steeply that they are pooled with nothing.
        lowest = ops.min(ops.where(real, ordered, float("inf")), axis=1, keepdims=True)
        ordered = ops.where(real, ordered, ops.where(ops.isinf(lowest), 0.0, lowest))
    wanted = -ops.cast(slots, ordered.dtype) / strength + ops.zeros_like(ordered)
    numerators = ops.where(real, wanted, -1e37)
    # Blocks do not depend on an offset, rounding does: so all that levels are made of is negative.
    heights = ordered - ordered[:, -1:]
    _, starts = isotonic.pool(isotonic.Rows(numerators, heights, regularization, tolerant=True))
    first = take_along_rows(ordered, starts)
    beyond = ops.cast(starts - slots, ordered.dtype) / strength
    if regularization == "l2":
        size, excess, offset = block_sums(starts, ops.ones_like(first), ordered - first, beyond)
        result = first + excess / size + (beyond - offset / size)
        weights = 1 / size
    else:
        excess = ops.exp(ordered - first)
        total, offset = block_sums(starts, excess, ops.exp(beyond))
        result = first + ops.log(total) + (beyond - ops.log(offset))
        weights = excess / total
    result = ops.where(undefined, float("nan"), -result if direction == "ascending" else result)
    result = from_rows(ops.cast(ops.where(real, result, 0.0), scores.dtype), scores, axis)
    return result, places, starts, weights, real


def _backward(upstream, places, starts, weights, real, *, regularization, direction, axis):
    # Each entry of a block depends on the scores in it by their weights: 1 / size, or softmax.
    rows = ops.where(real, ops.cast(to_rows(upstream, axis), weights.dtype), 0.0)
    (total,) = block_sums(starts, rows)
    gradient = take_along_rows(ops.where(real, weights * total, 0.0), places)
    return from_rows(ops.cast(gradient, upstream.dtype), upstream, axis)


_sorted = differentiable(_forward, _backward)
