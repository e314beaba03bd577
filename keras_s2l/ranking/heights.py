"""Descending scores as heights above the lowest one, and the ranks that they strive for.

Only the gaps between neighbours matter to soft ranks. A gap that no block can cross is narrowed to
one that just cannot be crossed: that changes no rank, and offsets of 1e6, scores of 1e30 and
strengths of 1e-8 cost no precision.
"""

import keras
import numpy as np
from keras import ops

from keras_s2l._compiled import alive, computed_once
from keras_s2l.ranking import columns
from keras_s2l.ranking.scans import running, running_from_the_end

SHORT = {"l2": 32, "kl": 16}  # Rows up to this are precise with the first, coarse bound.


def heights_and_targets(ordered, count, strength, regularization):
    """Heights of descending rows in units of the strength, and the targets: hard ranks.

    Args:
        ordered: Tensor `(batch, n)`, descending; the slots from `count` on are absent.
        count: int32 `(batch, 1)`.
        strength: Scalar tensor.
        regularization: With "kl" the targets are the logarithms of the ranks from 1.
    """
    n = ordered.shape[1]
    places = ops.arange(ops.shape(ordered)[1], dtype="int32")[None]
    targets = ops.cast(count - 1 - places, ordered.dtype)
    if regularization == "kl":
        targets = ops.log(ops.maximum(targets + 1, 1.0))
    upper, lower = ordered[:, :-1], ordered[:, 1:]
    gaps = ops.where(upper == lower, ops.zeros_like(upper), (upper - lower) / strength)
    # A block of m pools a gap of at most m / 2 ("l2"), or of its logarithms' range ("kl").
    size = ops.cast(ops.shape(ordered)[1], gaps.dtype)
    widest = size / 2 + 1 if regularization == "l2" else 3 * ops.log(size + 1) + 2
    gaps = ops.minimum(gaps, widest)
    gaps = ops.where(places[:, :-1] == count - 1, widest, gaps)  # Real slots from absent ones.
    if n is not None and n > SHORT[regularization]:
        gaps = computed_once(gaps, alive(ordered))
        high = ops.sum(gaps, axis=1) > (16 * n if regularization == "l2" else 64)
        gaps = ops.cond(ops.any(high), lambda: _narrowed(gaps, targets), lambda: gaps)
    return _height(gaps), targets


def _narrowed(gaps, targets):
    """No gap is wider than what separates all that lies before it from all that lies behind it.

    A block can cross a gap only from an entry before it to one behind that lies as high, where
    height is over the targets. The range of all heights shrinks to some 4 n.
    """
    dtype = gaps.dtype
    gaps, targets = _precise(gaps), _precise(targets)
    fence = alive(gaps)
    excess = computed_once(_height(gaps) - targets, fence)
    depth = excess - computed_once(running(ops.minimum, excess, np.inf), fence)
    rise = computed_once(running_from_the_end(ops.maximum, excess, -np.inf), fence) - excess
    rounding = 8 * np.finfo(keras.backend.standardize_dtype(gaps.dtype)).eps
    margin = 1e-3 + rounding * ops.max(ops.abs(excess), axis=1, keepdims=True)
    steps = targets[:, :-1] - targets[:, 1:]
    return ops.cast(ops.minimum(gaps, 2 * steps + depth[:, :-1] + rise[:, 1:] + margin), dtype)


def _height(gaps):
    gaps = ops.pad(gaps, [(0, 0), (0, 1)])
    if columns.few(gaps.shape[1]):
        return ops.transpose(columns.running_from_the_end(ops.add, ops.transpose(gaps)))
    height = ops.flip(ops.cumsum(ops.flip(gaps, axis=1), axis=1), axis=1)
    return computed_once(height, alive(gaps))


def _precise(x):
    # JAX has no float64 unless its user asks for it.
    return x if keras.backend.backend() == "jax" else ops.cast(x, "float64")
