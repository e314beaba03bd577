"""Isotonic regression of short rows, without a loop over their entries."""

import math

from keras import ops


def pooled_blocks(y):
    """Which neighbours the nearest non-increasing vector of each row pools together.

    The nearest non-increasing vector to `y` is the slope of the least concave majorant of its
    prefix sums. The majorant bends after entry `i` exactly where each mean that ends at `i` lies
    above each mean that begins at `i + 1`; entries between two bends share their mean.

    Args:
        y: Floating tensor of shape `(batch, n)`.

    Returns:
        Boolean tensor of shape `(batch, n, n)`: whether two entries lie in the same block. Derived
        from integer block numbers: comparing the pooled values instead would miss equal ones.

    Reference: Robertson, Wright, Dykstra, Order Restricted Statistical Inference, 1988,
    section 1.4.
    """
    n = y.shape[1]
    total = ops.cumsum(y, axis=1)
    before = total - y
    first = ops.arange(n, dtype="int32")[:, None]
    last = ops.arange(n, dtype="int32")[None, :]
    length = ops.cast(ops.maximum(last - first + 1, 1), y.dtype)
    mean = (total[:, None, :] - before[:, :, None]) / length  # of the entries first … last
    infinity = ops.full_like(mean, float("inf"))
    is_range = (first <= last)[None]
    # `initial`, so that an empty batch has a minimum too.
    lowest_ending = ops.min(ops.where(is_range, mean, infinity), axis=1, initial=math.inf)
    highest_beginning = ops.max(ops.where(is_range, mean, -infinity), axis=2, initial=-math.inf)
    bends = ops.cast(lowest_ending[:, :-1] > highest_beginning[:, 1:], "int32")
    block = ops.pad(ops.cumsum(bends, axis=1), [(0, 0), (1, 0)])
    return block[:, :, None] == block[:, None, :]


def block_mean(values, same_block):
    """Replaces each of `values` `(batch, n)` by the mean of its block."""
    weights = ops.cast(same_block, values.dtype)
    sums = ops.sum(weights * values[:, None, :], axis=2)
    return sums / ops.sum(weights, axis=2)
