"""Isotonic regression as an op: the nearest rising or falling rows, with their gradient."""

from keras import ops

from keras_s2l import _checks
from keras_s2l._gradients import differentiable
from keras_s2l.ranking import isotonic
from keras_s2l.ranking.blocks import block_sums
from keras_s2l.ranking.rows import from_rows, to_rows, widened


def isotonic_regression(values, axis=-1, increasing=True):
    """The nearest increasing (or decreasing) sequence to each row, in least squares.

    Neighbours that violate the order are pooled into blocks at their mean. The gradient averages
    within blocks.

    Args:
        values: Floating tensor of rank 1 or more, finite. float16 and bfloat16 are computed in
            float32.
        axis: Integer, the axis along which the sequences run.
        increasing: Whether they are to rise (never fall), or to fall.

    Returns:
        Tensor of the shape and dtype of `values`. A row with a NaN is NaN.

    Raises:
        ValueError: If `values` is not floating, `axis` is no axis of it, or `increasing` is not a
            boolean.

    Example:
    >>> isotonic_regression(np.array([1.0, 3.0, 2.0]))   # [1.0, 2.5, 2.5]

    Reference: Best and Chakravarti, Active set algorithms for isotonic regression, 1990.
    """
    values = _checks.floating_tensor("values", values)
    axis = _checks.axis_of("values", values, axis)
    _checks.one_of("increasing", increasing, (True, False))

    return _regression(values, axis=axis, increasing=bool(increasing))


def _forward(values, *, axis, increasing):
    rows = to_rows(widened(values), axis)
    undefined = ops.any(ops.isnan(rows), axis=1, keepdims=True)
    rows = ops.where(undefined, 0.0, -rows if increasing else rows)
    levels, starts = isotonic.pool(isotonic.Rows(rows, ops.zeros_like(rows), "l2"))
    levels = ops.where(undefined, float("nan"), -levels if increasing else levels)
    return from_rows(ops.cast(levels, values.dtype), values, axis), starts


def _backward(upstream, blocks, *, axis, increasing):
    # Falling or rising, the mean of a block is the mean of its entries.
    rows = to_rows(widened(upstream), axis)
    total, size = block_sums(blocks, rows, ops.ones_like(rows))
    return from_rows(ops.cast(total / size, upstream.dtype), upstream, axis)


_regression = differentiable(_forward, _backward)
