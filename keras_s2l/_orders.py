"""The labels of ranking losses and metrics: one reading of `order`, also where slots are absent."""

import keras
import numpy as np
from keras import ops

ABSENT = -1  # In place of a rank, where a row is shorter than the batch is wide.


def order_and_mask(order, scores):
    """The label as integers, and which of its slots are present.

    A row with m present slots holds each of the ranks `0 … m - 1` once, and `-1` in its absent
    slots, wherever they stand; a row may be absent altogether.

    The labels are checked where they can be seen: NumPy arrays and lists, and tensors outside a
    compiled step (PyTorch: those in the processor's memory). Inside `tf.function`, `jax.jit` or
    `torch.compile`, and so in most calls of `fit`, they cannot be seen: there any negative number
    counts as absent and fractions are cut off. Losses tell such rows by `are_rankings`; metrics
    give them a value without meaning.

    Args:
        order: Numbers of any dtype, `(batch, num_patches)`: the 0-based rank of each score, or -1.
        scores: Of the same shape; only the shape matters.

    Returns:
        `order` as an int32 tensor and the mask, a boolean tensor that is true for present slots;
        both of shape `(batch, num_patches)`.

    Raises:
        ValueError: If either has not two axes, if known sizes differ, or if the labels can be seen
            and are 1-based, repeated, out of range, fractions, or negative other than -1.

    Example:
    >>> order, mask = order_and_mask([[1.0, 0.0, -1.0]], np.zeros((1, 3)))
    >>> order, mask   # [[1, 0, -1]], [[True, True, False]]
    """
    tensor, scores = ops.convert_to_tensor(order), ops.convert_to_tensor(scores)
    _refuse_other_shapes(tuple(tensor.shape), tuple(scores.shape))
    # A NumPy array is seen even inside a compiled step, where its tensor is symbolic.
    visible = order if isinstance(order, np.ndarray) else _visible(tensor)
    if visible is not None:
        _refuse_other_labels(visible)
    tensor = ops.cast(tensor, "int32")
    return tensor, tensor >= 0


def are_rankings(order):
    """Which rows hold each of `0 … m - 1` once in m slots and -1 in the others: `(batch,)`.

    For compiled steps too, and others in which labels cannot be seen, and so not be refused.
    """
    order = ops.convert_to_tensor(order)
    ranks, width = ops.cast(order, "int32"), ops.shape(order)[1]
    present = ranks != ABSENT
    count = ops.sum(ops.cast(present, "int32"), axis=1, keepdims=True)
    places = ops.arange(width, dtype="int32")
    ascending = ops.sort(ops.where(present, ranks, width), axis=1)
    as_wanted = ascending == ops.where(places < count, places, width)
    return ops.all(as_wanted & (ops.cast(ranks, order.dtype) == order), axis=1)


def refuse_no_permutations(order):
    """Raises `ValueError` unless rows of `order` are permutations, as far as they can be seen.

    A compiled step could not tell: it would take patches of other examples, or learn to leave some
    out.

    Args:
        order: Numbers `(batch, num_patches)`.
    """
    tensor = ops.convert_to_tensor(order)
    if len(tensor.shape) != 2:
        raise ValueError(
            "`order` must have shape (batch, num_patches). Received: order of shape "
            f"{tuple(tensor.shape)}"
        )
    visible = order if isinstance(order, np.ndarray) else _visible(tensor)
    if visible is None:
        return
    absent = np.any(visible == ABSENT, axis=1)
    if np.any(absent):
        row = int(np.argmax(absent))
        raise ValueError(
            "`order` must be a permutation of 0 … n - 1 in each row; no slot may be absent where "
            f"patches are shuffled. Received: row {row} of `order` is {visible[row].tolist()}"
        )
    _refuse_other_labels(visible)


def _refuse_other_shapes(order, scores):
    same = len(order) == len(scores) == 2
    if not same or any(a != b for a, b in zip(order, scores) if None not in (a, b)):
        raise ValueError(
            "`order` must give one rank for each score: shapes (batch, num_patches) both. Pad "
            f"shorter rows with {ABSENT}. Received: order of shape {order}, scores of shape "
            f"{scores}"
        )


def _visible(tensor):
    """The values of `tensor` as a NumPy array; `None` if it has none yet, or they cost a wait."""
    with keras.SymbolicScope() as scope:
        # Keras is inferring shapes, on PyTorch with ones in place of labels.
        if scope.original_scope is not None:
            return None
    backend = keras.backend.backend()
    if backend == "tensorflow":
        seen = hasattr(tensor, "numpy")  # Symbolic tensors have no such method.
    elif backend == "jax":
        import jax  # Not a dependency of the other backends.

        seen = not isinstance(tensor, jax.core.Tracer) and tensor.is_fully_addressable
    else:
        import torch

        # Every step is eager here: reading from another device would make each of them wait.
        seen = tensor.device.type == "cpu" and not torch.compiler.is_compiling()
    return ops.convert_to_numpy(tensor) if seen else None


def _refuse_other_labels(order):
    """Raises unless each row holds `0 … m - 1` in its m present slots."""
    ranks = order.astype("float64")
    present = ranks != ABSENT
    count = present.sum(axis=1, keepdims=True)
    places = np.arange(order.shape[1])
    wanted = np.where(places < count, places, np.inf)
    ascending = np.sort(np.where(present, ranks, np.inf), axis=1)
    bad = np.any(ascending != wanted, axis=1)
    if not np.any(bad):
        return
    row = int(np.argmax(bad))
    raise ValueError(
        "`order` must hold in each row the 0-based rank of each present slot, each of 0 … m - 1 "
        f"once where m are present, and {ABSENT} in absent slots; "
        f"{_mistake(ranks[row][present[row]])}. "
        f"Received: row {row} of `order` is {order[row].tolist()}"
    )


def _mistake(ranks):
    """What is wrong with the present ranks of one row, and how to mend it."""
    count = len(ranks)
    if not np.all(ranks == np.floor(ranks)) or not np.all(np.isfinite(ranks)):
        return "these are not whole numbers: give ranks, not scores"
    if np.any(ranks < 0):
        return f"mark absent slots with {ABSENT}, no other negative number"
    if np.array_equal(np.sort(ranks), np.arange(1, count + 1)):
        return "these are 1-based and ranks are 0-based: subtract 1"
    if np.any(ranks >= count):
        return f"here m = {count}, so {np.max(ranks):.0f} is out of the range 0 … {count - 1}"
    values, counts = np.unique(ranks, return_counts=True)
    return f"here {values[counts > 1][0]:.0f} is repeated: give tied items different ranks"
