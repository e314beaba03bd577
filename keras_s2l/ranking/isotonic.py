"""Isotonic regression of many rows at once: which neighbours are pooled, and at which level.

The pool-adjacent-violators algorithm goes along one row, entry by entry. Here short rows are solved
by the min-max formula, all entries at once. Longer ones are cut into such pieces, and neighbouring
solutions are merged in pairs: only a stretch across the seam is pooled, all of it at one level.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_s2l._compiled import alive, computed_once
from keras_s2l.ranking.scans import extended, running, take_along_rows

LONGEST_PIECE = 32  # Longest row for the min-max formula, whose work grows with the square.
PIECE = 16  # Into which longer ones are cut.


class Rows:
    """Rows `(batch, n)` to be made non-increasing, and the mean that pooled entries take.

    With "l2" it is the arithmetic mean of `numerators - denominators`. With "kl" it is
    `log Σ exp(numerators) - log Σ exp(denominators)`, and both are in descending order; the
    denominators lie within 0 and `log_range`.
    """

    def __init__(self, numerators, denominators, regularization, log_range=math.inf):
        self.log_range = log_range
        self.numerators, self.denominators = numerators, denominators
        self.regularization = regularization
        self.values = numerators - denominators
        self.length = self.values.shape[1]


def pool(rows):
    """The nearest non-increasing rows, by the divergence that `rows.regularization` names.

    Args:
        rows: `Rows` of finite values `(batch, n)`; if n is unknown, the work is done step by step.

    Returns:
        Levels `(batch, n)`, one for each block, and `starts`, int32 `(batch, n)`: the place of the
        first entry of the block of each entry. The starts tell the blocks apart, for two
        neighbours may happen to have equal levels.

    Reference: Robertson, Wright, Dykstra, Order Restricted Statistical Inference, 1988, section
    1.4 (min-max formula); Blondel et al., 2020, section 5 (the two means). The merging is ours.
    """
    if rows.length is not None and rows.length > LONGEST_PIECE:
        return _pool_by_merging(rows)
    return _pool_piece(rows)


def _pool_piece(rows):
    # An entry opens a block where the lowest mean that ends before it lies above the highest mean
    # that begins with it; that highest mean is then the level of the block.
    values = rows.values
    lowest = computed_once(_lowest_means_ending(rows), alive(values))
    highest = computed_once(_highest_means_beginning(rows), alive(values))
    falls = values[:, :-1] - values[:, 1:] + lowest[:, :-1] > highest[:, 1:]
    opens = ops.concatenate([ops.ones_like(values[:, :1], dtype="bool"), falls], axis=1)
    starts = starts_of(opens)
    return take_along_rows(values + highest, starts), starts


def starts_of(opens):
    """The place at which the block of each entry starts, where `opens` tells who opens one."""
    places = ops.arange(ops.shape(opens)[1], dtype="int32")[None]
    return running(ops.maximum, ops.where(opens, places, 0), 0)


def _lowest_means_ending(rows):
    """Lowest mean of a stretch that ends at each entry, less the entry itself."""
    values = rows.values
    zero = ops.zeros_like(values)
    if rows.regularization == "l2":
        earlier = _Neighbours(values, left=math.inf)

        def add(distance, total, lowest):
            total = total + (earlier.before(distance) - values)
            return total, ops.minimum(lowest, total * _share(distance, values))

        return _each_distance(rows, add, (zero, zero))[-1]

    # Sums in units of their first and largest term, means in units of the entry: no logarithms.
    falls = [_Neighbours(_fall(x)) for x in (rows.numerators, rows.denominators)]
    climbs = _Neighbours(_climb(values), left=math.inf)

    def add(distance, above, below, first, lowest):
        above = 1 + falls[0].before(distance) * above
        below = 1 + falls[1].before(distance) * below
        first = first * climbs.before(distance)
        return above, below, first, ops.minimum(lowest, first * above / below)

    return ops.log(_each_distance(rows, add, (zero + 1,) * 4)[-1])


def _highest_means_beginning(rows):
    """Highest mean of a stretch that begins at each entry, less the entry itself."""
    values = rows.values
    zero = ops.zeros_like(values)
    if rows.regularization == "l2":
        later = _Neighbours(values, right=-math.inf)

        def add(distance, total, highest):
            total = total + (later.after(distance) - values)
            return total, ops.maximum(highest, total * _share(distance, values))

        return _each_distance(rows, add, (zero, zero))[-1]

    falls = [_Neighbours(_fall(x)) for x in (rows.numerators, rows.denominators)]

    def add(distance, above, top, below, bottom, highest):
        top = top * falls[0].after(distance - 1)
        bottom = bottom * falls[1].after(distance - 1)
        above, below = above + top, below + bottom
        return above, top, below, bottom, ops.maximum(highest, above / below)

    return ops.log(_each_distance(rows, add, (zero + 1,) * 5)[-1])


def _fall(x):
    """`exp(x[i + 1] - x[i])` of descending rows."""
    return ops.pad(ops.exp(x[:, 1:] - x[:, :-1]), [(0, 0), (0, 1)])


def _climb(x):
    """`exp(x[i] - x[i + 1])`, bounded so that no product of them is undefined."""
    return ops.pad(ops.exp(ops.clip(x[:, :-1] - x[:, 1:], -80.0, 80.0)), [(0, 0), (0, 1)])


def _share(distance, values):
    """Of each entry in the mean of a stretch from one entry to another."""
    return (
        1 / (distance + 1)
        if isinstance(distance, int)
        else 1 / ops.cast(distance + 1, values.dtype)
    )


class _Neighbours:
    """The entries at some distance from each entry of rows, and what stands for those outside."""

    def __init__(self, rows, left=0.0, right=0.0):
        self.width = ops.shape(rows)[1]
        padded = [ops.full_like(rows, left), rows, ops.full_like(rows, right)]
        self.padded = computed_once(ops.concatenate(padded, axis=1), alive(rows))

    def before(self, distance):
        return self._from(self.width - distance)

    def after(self, distance):
        return self._from(self.width + distance)

    def _from(self, start):
        if isinstance(start, int):
            return self.padded[:, start : start + self.width]
        return ops.slice(self.padded, (0, start), (ops.shape(self.padded)[0], self.width))


def _each_distance(rows, step, state):
    """`state = step(distance, *state)` for each distance between two entries of a row."""
    if rows.length is not None:
        for distance in range(1, rows.length):
            state = step(distance, *state)
        return state

    def body(distance, *state):
        return distance + 1, *step(distance, *state)

    length = ops.shape(rows.values)[1]
    return ops.while_loop(lambda distance, *_: distance < length, body, (1, *state))[1:]


def _pool_by_merging(rows):
    batch, length = ops.shape(rows.values)[0], rows.length
    width = PIECE << (math.ceil(length / PIECE) - 1).bit_length()

    def padded(x, value):
        x = ops.broadcast_to(x, (batch, length))
        return extended(x, 0, width - length, value)

    # What is filled up lies below everything, and is never pooled with it.
    numerators = padded(rows.numerators, -0.1 * np.finfo("float32").max)
    denominators = padded(rows.denominators, 0.0)
    pieces = [ops.reshape(x, (-1, PIECE)) for x in (numerators, denominators)]
    levels, starts = _pool_piece(Rows(*pieces, rows.regularization))
    opens = starts == ops.arange(PIECE, dtype="int32")
    size = PIECE
    while size < width:
        shape = (batch, width // (2 * size), 2 * size)
        halves = [ops.reshape(x, shape) for x in (levels, opens, denominators)]
        levels, opens = _merge(*halves, rows.regularization, rows.log_range)
        size *= 2
    levels, opens = (ops.reshape(x, (batch, width))[:, :length] for x in (levels, opens))
    levels = computed_once(levels, alive(rows.values))
    return levels, starts_of(computed_once(opens, alive(rows.values)))


def _merge(levels, opens, denominators, regularization, log_range):
    """Pools across the middle of pairs of solutions `(batch, pairs, 2 * size)`.

    The pooled stretch takes the mean of all that lies below it on the left and above it on the
    right: the one zero of an increasing function of the level, found by Newton's method within a
    bracket. Four steps are usual.
    """
    size = levels.shape[-1] // 2
    left, right = levels[..., :size], levels[..., size:]
    log_weights = denominators[..., :size], denominators[..., size:]
    low, high = left[..., -1:], right[..., :1]
    precision = 4 * np.finfo(keras.backend.standardize_dtype(levels.dtype)).eps
    precision = precision * ops.maximum(ops.abs(low), ops.abs(high))

    def total(on_the_left, on_the_right):
        return ops.sum(on_the_left + on_the_right, axis=-1, keepdims=True)

    def distance_to_mean(level):
        excess = ops.minimum(left - level, 0.0), ops.maximum(right - level, 0.0)
        pooled = left < level, right > level
        if regularization == "l2":
            count = total(*(ops.cast(x, levels.dtype) for x in pooled))
            return total(*excess) / ops.maximum(count, 1.0)
        weights = [ops.where(x, weight, -math.inf) for x, weight in zip(pooled, log_weights)]
        if log_range > 60:  # In units of the largest: no exponential overflows.
            largest = ops.max(ops.maximum(*weights), axis=-1, keepdims=True)
            largest = ops.where(largest > -math.inf, largest, 0.0)
            weights = [weight - largest for weight in weights]
        weights = [ops.exp(weight) for weight in weights]
        excess = [weight * ops.expm1(ops.minimum(x, 60.0)) for x, weight in zip(excess, weights)]
        weight = total(*weights)
        return ops.log1p(total(*excess) / ops.where(weight > 0, weight, 1.0))

    def unsettled(step, level, move, low, high):
        return ops.logical_and(step < 100, ops.any(ops.abs(move) > precision))

    def improve(step, level, move, low, high):
        move = distance_to_mean(level)
        low = ops.where(move > 0, level, low)
        high = ops.where(move < 0, level, high)
        better = level + move
        outside = ops.logical_or(better <= low, better >= high)
        halve = ops.logical_and(outside, ops.abs(move) > precision)
        return step + 1, ops.where(halve, low + 0.5 * (high - low), better), move, low, high

    level = ops.where(low < high, low + 0.5 * (high - low), low)
    far = ops.full_like(level, math.inf)
    _, level, *_ = ops.while_loop(unsettled, improve, (0, level, far, low, high))
    # The first one pooled opens the block; whoever follows has joined it.
    joined = left < level
    joined = ops.logical_and(joined[..., 1:], joined[..., :-1])
    joined = ops.pad(joined, [(0, 0), (0, 0), (1, 0)], constant_values=False)
    joined = ops.concatenate([joined, right > level], axis=-1)
    levels = ops.concatenate([ops.maximum(left, level), ops.minimum(right, level)], axis=-1)
    return levels, ops.logical_and(opens, ops.logical_not(joined))
