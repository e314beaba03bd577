"""What all ranking ops take: scores along any axis, in either direction, with absent slots."""

import keras
from keras import ops

from keras_s2l import _checks

DIRECTIONS = ("ascending", "descending")


def checked(scores, direction, axis, mask):
    """Scores and mask as tensors, and the axis counted from the front.

    Raises:
        ValueError: That names the argument which cannot be used.
    """
    scores = _checks.floating_tensor("scores", scores)
    _checks.one_of("direction", direction, DIRECTIONS)
    axis = _checks.axis_of("scores", scores, axis)
    return scores, None if mask is None else _checks.mask_of("scores", scores, mask), axis


def checked_strength(name, strength):
    """A strength, or a scale of noise, as a float; raises `ValueError` unless it is positive."""
    return _checks.positive_float(name, strength, "try 1.0, lower it for a harder result")


def within_float32(strength):
    """The strength, or one beyond which nothing changes: float32 would know it as 0 or infinity."""
    return min(max(strength, 1e-30), 1e30)


def to_rows(x, axis):
    """`x` as rows `(batch, n)` along `axis`."""
    x = ops.moveaxis(x, axis, -1)
    return ops.reshape(x, (-1, ops.shape(x)[-1]))


def from_rows(rows, like, axis):
    """Rows in the shape of the tensor that they were made of."""
    sizes = list(ops.shape(like))
    sizes.append(sizes.pop(axis))
    return ops.moveaxis(ops.reshape(rows, sizes), -1, axis)


def scores_to_rows(scores, mask, direction, axis):
    """Rows to be ranked in ascending order.

    Returns:
        Values `(batch, n)` in float32 or float64, minus infinity where a slot is absent and zero in
        rows with a NaN; `present`, booleans of that shape or None; `undefined`, booleans
        `(batch, 1)`, true for rows with a NaN.
    """
    values = to_rows(widened(scores), axis)
    if direction == "descending":
        values = -values
    present = None
    if mask is not None:
        present = to_rows(mask, axis)
        values = ops.where(present, values, -float("inf"))
    undefined = ops.any(ops.isnan(values), axis=1, keepdims=True)
    return ops.where(undefined, 0.0, values), present, undefined


def ranks_from_rows(ranks, present, undefined, scores, axis):
    """Ranks in the shape and dtype of the scores: NaN in undefined rows, -1 in absent slots."""
    ranks = ops.where(undefined, float("nan"), ranks)
    if present is not None:
        ranks = ops.where(present, ranks, -1.0)
    return from_rows(ops.cast(ranks, scores.dtype), scores, axis)


def count_real(values, present):
    """How many slots of each row are real: int32 `(batch, 1)`."""
    if present is None:
        return ops.full((ops.shape(values)[0], 1), ops.shape(values)[1], dtype="int32")
    return ops.sum(ops.cast(present, "int32"), axis=1, keepdims=True)


def widened(scores):
    """`scores` in float32, or as they are in float64: half precision moves ranks by up to 0.5."""
    return ops.cast(scores, widened_dtype(scores))


def widened_dtype(scores):
    """The dtype in which scores are ranked."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    return dtype if dtype == "float64" else "float32"
