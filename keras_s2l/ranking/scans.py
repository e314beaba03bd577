"""Running maxima and sums along rows, and entries taken by place."""

import math

from keras import ops

PIECE = 16


def running(combine, rows, neutral):
    """`combine(rows[:, 0], …, rows[:, i])` at each i, of rows `(batch, n)`.

    Args:
        combine: Associative function of two tensors: `ops.add`, `ops.maximum`, `ops.minimum`.
        rows: Tensor `(batch, n)`. Where n is unknown, `combine` must be `ops.maximum`.
        neutral: Number that `combine` leaves any entry unchanged with.
    """
    batch, n = ops.shape(rows)[0], rows.shape[1]
    if n is None:
        return _running_maximum_of_unknown_length(rows, neutral)
    if n > 2 * PIECE:  # Along pieces first, then over their ends: n steps, not n log n.
        pieces = math.ceil(n / PIECE)
        rows = ops.reshape(extended(rows, 0, pieces * PIECE - n, neutral), (-1, PIECE))
        rows = ops.reshape(running(combine, rows, neutral), (batch, pieces, PIECE))
        until = running(combine, rows[:, :-1, -1], neutral)
        until = extended(until, 1, 0, neutral)
        return ops.reshape(combine(rows, until[:, :, None]), (batch, pieces * PIECE))[:, :n]
    distance = 1
    while distance < n:
        rows = combine(rows, extended(rows[:, :-distance], distance, 0, neutral))
        distance *= 2
    return rows


def _running_maximum_of_unknown_length(rows, neutral):
    n = ops.shape(rows)[1]
    places = ops.arange(n)
    earlier = places[None, :] <= places[:, None]
    return ops.max(ops.where(earlier, rows[:, None, :], neutral), axis=2)


def running_from_the_end(combine, rows, neutral):
    """`combine(rows[:, i], …, rows[:, n - 1])` at each i."""
    return ops.flip(running(combine, ops.flip(rows, axis=1), neutral), axis=1)


def starts_of(falls):
    """The place at which the block of each entry starts.

    Args:
        falls: Booleans `(batch, n - 1)`, whether a block ends and the next entry opens another.
    """
    places = ops.arange(1, ops.shape(falls)[1] + 1, dtype="int32")[None]
    opened = ops.pad(ops.where(falls, places, 0), [(0, 0), (1, 0)])
    return running(ops.maximum, opened, 0)


def extended(rows, before, after, value):
    """Rows with so many times `value` before and after them.

    Not `ops.pad`: inside `tf.vectorized_map` that fills up with zeros.
    """

    def filling(width):
        return ops.full((ops.shape(rows)[0], width), value, dtype=rows.dtype)

    parts = [filling(before)] * (before > 0) + [rows] + [filling(after)] * (after > 0)
    return ops.concatenate(parts, axis=1) if len(parts) > 1 else rows


def take_along_rows(values, places):
    """`values[b, places[b, i]]`, without a check of the range."""
    batch, width = ops.shape(values)[0], ops.shape(values)[1]
    first = width * ops.arange(batch, dtype="int32")[:, None]
    return ops.take(ops.reshape(values, (-1,)), places + first, axis=0)
