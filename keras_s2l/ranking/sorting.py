"""Sorting of values without their indices, and the search for where each of them went."""

from keras import ops

from keras_s2l._compiled import xla_on_cpu
from keras_s2l.ranking.scans import extended, take_along_rows


def descending(rows):
    """Values of each row `(batch, n)`, the largest first. No NaN."""
    if not xla_on_cpu() or rows.shape[1] is None:
        return ops.flip(ops.sort(rows, axis=1), axis=1)
    return _bitonic_network(rows)


def _bitonic_network(rows):
    """Maxima and minima alone: XLA's own sort, which calls a comparator, is 5 to 30 times slower.

    Reference: Batcher, Sorting networks and their applications, 1968.
    """
    n = rows.shape[1]
    width = 1 << (n - 1).bit_length()
    rows = extended(rows, 0, width - n, float("-inf"))
    x = ops.transpose(rows)  # Neighbours in memory are then in different rows: whole vectors.
    batch = ops.shape(x)[1]
    size = 2
    while size <= width:
        # Two halves in descending order, the second one reversed, make a bitonic sequence …
        x = ops.reshape(x, (width // size, 2, size // 2, batch))
        upper, lower = x[:, 0], ops.flip(x[:, 1], axis=1)
        x = ops.stack([ops.maximum(upper, lower), ops.flip(ops.minimum(upper, lower), axis=1)], 1)
        distance = size // 4
        while distance:  # … which is sorted by halves, quarters, eighths.
            x = ops.reshape(x, (width // (2 * distance), 2, distance, batch))
            upper, lower = x[:, 0], x[:, 1]
            x = ops.stack([ops.maximum(upper, lower), ops.minimum(upper, lower)], 1)
            distance //= 2
        size *= 2
    return ops.transpose(ops.reshape(x, (width, batch))[:n])


def count_above(ordered, rows):
    """How many entries of each descending row `ordered` lie above each entry of `rows`: int32.

    That is where the entry stands in `ordered`; equal ones are all sent to the first of them.
    """
    n = ordered.shape[1]
    if n is None:
        return ops.sum(ops.cast(ordered[:, None, :] > rows[:, :, None], "int32"), axis=2)
    if n <= 32:
        count = ops.zeros_like(rows, dtype="int32")
        for place in range(n):
            count = count + ops.cast(ordered[:, place : place + 1] > rows, "int32")
        return count
    width = 1 << n.bit_length()  # More than n: the search may stop behind the last entry.
    padded = extended(ordered, 0, width - n, float("-inf"))
    count = ops.zeros_like(rows, dtype="int32")
    step = width // 2
    while step:
        above = take_along_rows(padded, count + (step - 1)) > rows
        count = ops.where(above, count + step, count)
        step //= 2
    return count
