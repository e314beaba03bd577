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
from keras_s2l.ranking.minmax import pool_short
from keras_s2l.ranking.scans import extended, starts_of

LONGEST_PIECE = 32  # Longest row for the min-max formula, whose work grows with the square.
PIECE = 16  # Into which longer ones are cut.


class Rows:
    """Rows `(batch, n)` to be made non-increasing, and the mean that pooled entries take.

    With "l2" it is the arithmetic mean of `numerators - denominators`. With "kl" it is
    `log Σ exp(numerators) - log Σ exp(denominators)`, and both are in descending order; the
    denominators lie within 0 and `log_range`.

    Neighbouring levels that differ are different blocks; if `tolerant`, only those that differ by
    more than rounding does, for a caller who puts together block by block what would be wrong as a
    whole where a block falls apart.
    """

    def __init__(
        self, numerators, denominators, regularization, log_range=math.inf, tolerant=False
    ):
        self.log_range, self.tolerant = log_range, tolerant
        self.numerators, self.denominators = numerators, denominators
        self.regularization = regularization
        self.values = numerators - denominators
        self.length = self.values.shape[1]

    def falls(self, levels, following):
        """Whether levels are above those that follow them, and so of another block."""
        if not self.tolerant:
            return levels > following
        # Levels are sums of terms of one sign, so their rounding is relative to them.
        rounding = 64 * _epsilon(levels)
        return levels - following > rounding * ops.maximum(ops.abs(levels), ops.abs(following))


def _epsilon(x):
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).eps)


def pool(rows):
    """The nearest non-increasing rows, by the divergence that `rows.regularization` names.

    Args:
        rows: `Rows` of finite values `(batch, n)`; if n is unknown, the work is done step by step.

    Returns:
        Levels `(batch, n)`, one for each block, and `starts`, int32 `(batch, n)`: the place of the
        first entry of the block of each entry. Neighbours at one level are one block.

    Reference: Robertson, Wright, Dykstra, Order Restricted Statistical Inference, 1988, section
    1.4 (min-max formula); Blondel et al., 2020, section 5 (the two means). The merging is ours.
    """
    if rows.length is not None and rows.length > LONGEST_PIECE:
        return _pool_by_merging(rows)
    return pool_short(rows)


def _pool_by_merging(rows):
    batch, length = ops.shape(rows.values)[0], rows.length
    width = PIECE << (math.ceil(length / PIECE) - 1).bit_length()

    def padded(x, value):
        x = ops.broadcast_to(x, (batch, length))
        return extended(x, 0, width - length, value)

    # What is filled up lies below everything, and is never pooled with it.
    largest = np.finfo(keras.backend.standardize_dtype(rows.values.dtype)).max
    numerators = padded(rows.numerators, -0.1 * float(largest))
    denominators = padded(rows.denominators, 0.0)
    pieces = [ops.reshape(x, (-1, PIECE)) for x in (numerators, denominators)]
    levels, _ = pool_short(Rows(*pieces, rows.regularization, rows.log_range))
    size = PIECE
    while size < width:
        shape = (batch, width // (2 * size), 2 * size)
        halves = [ops.reshape(x, shape) for x in (levels, denominators)]
        levels = _merge(*halves, rows.regularization, rows.log_range)
        size *= 2
    levels = ops.reshape(levels, (batch, width))[:, :length]
    levels = computed_once(levels, alive(rows.values))
    return levels, starts_of(rows.falls(levels[:, :-1], levels[:, 1:]))


def _merge(levels, denominators, regularization, log_range):
    """Pools across the middle of pairs of solutions `(batch, pairs, 2 * size)`.

    The pooled stretch takes the mean of all that lies below it on the left and above it on the
    right: the one zero of an increasing function of the level, found by Newton's method within a
    bracket. Four steps are usual.
    """
    size = levels.shape[-1] // 2
    left, right = levels[..., :size], levels[..., size:]
    log_weights = denominators[..., :size], denominators[..., size:]
    low, high = left[..., -1:], right[..., :1]
    precision = 4 * _epsilon(levels) * ops.maximum(ops.abs(low), ops.abs(high))

    def total(on_the_left, on_the_right):
        return ops.sum(on_the_left + on_the_right, axis=-1, keepdims=True)

    def log_total(on_the_left, on_the_right):
        largest = ops.max(ops.maximum(on_the_left, on_the_right), axis=-1, keepdims=True)
        largest = ops.where(largest > -math.inf, largest, 0.0)
        scaled = (ops.exp(x - largest) for x in (on_the_left, on_the_right))
        return largest + ops.log(total(*scaled))

    def distance_to_mean(level):
        excess = ops.minimum(left - level, 0.0), ops.maximum(right - level, 0.0)
        pooled = left < level, right > level
        if regularization == "l2":
            count = total(*(ops.cast(x, levels.dtype) for x in pooled))
            return total(*excess) / ops.maximum(count, 1.0)
        weights = [ops.where(x, weight, -math.inf) for x, weight in zip(pooled, log_weights)]
        if log_range > 60:  # Exponentials would overflow.
            sums = [weight + x for x, weight in zip(excess, weights)]
            distance = log_total(*sums) - log_total(*weights)
            return ops.where(ops.isnan(distance), 0.0, distance)  # Nothing is pooled.
        weights = [ops.exp(weight) for weight in weights]
        excess = [weight * ops.expm1(x) for x, weight in zip(excess, weights)]
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
    return ops.concatenate([ops.maximum(left, level), ops.minimum(right, level)], axis=-1)
