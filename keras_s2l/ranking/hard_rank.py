"""The ordinary rank, which the soft ones approach."""

from keras import ops

from keras_s2l.ranking.rows import checked, from_rows, scores_to_rows


def hard_rank(scores, direction="ascending", axis=-1, mask=None):
    """Rank of each score within its row; the lowest is 0, or the highest if descending.

    Equal scores are ranked in the order in which they stand. There is no gradient. Use it at test
    time, where the place of each patch is wanted.

    Args:
        scores: Floating tensor of rank 1 or more, infinities included.
        direction: "ascending" or "descending".
        axis: Integer, the axis along which the scores are ranked.
        mask: Booleans of the shape of `scores`, true where a slot is real; None if all are.

    Returns:
        int32 tensor of the shape of `scores`: each row of m real slots holds `0 … m - 1`. Absent
        slots hold -1, and so do all of a row with a NaN.

    Raises:
        ValueError: If `scores` is not floating, `direction` has another value, `axis` is no axis of
            `scores`, or `mask` is not boolean and of its shape.

    Example:
    >>> hard_rank(np.array([[5.0, 1.0, 2.0]]))   # [[2, 0, 1]]
    """
    scores, mask, axis = checked(scores, direction, axis, mask)
    values, present, undefined = scores_to_rows(scores, mask, direction, axis)
    values = ops.where(values == 0, ops.zeros_like(values), values)  # XLA sorts -0.0 before 0.0.
    order = ops.argsort(values, axis=1)
    if present is not None:  # Behind all real slots, also behind infinite ones.
        absent = ops.cast(ops.logical_not(present), "int32")
        last = ops.argsort(ops.take_along_axis(absent, order, axis=1), axis=1)
        order = ops.take_along_axis(order, last, axis=1)
        undefined = ops.logical_or(undefined, ops.logical_not(present))
    ranks = ops.cast(ops.argsort(order, axis=1), "int32")
    return from_rows(ops.where(undefined, -1, ranks), scores, axis)
