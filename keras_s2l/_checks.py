"""One voice for errors: what was expected, what came, how to mend it."""

import numbers

import keras


def positive_int(name, value, advice):
    """Returns `value` as an int if it is a whole number above 0, else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer; {advice}. Received: {name}={value}")
    return int(value)


def natural_int(name, value):
    """Returns `value` as an int if it is a whole number, 0 or above, else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
        raise ValueError(f"`{name}` must be an integer, 0 or above. Received: {name}={value}")
    return int(value)


def positive_float(name, value, advice):
    """Returns `value` as a float if it is a finite number above 0, else raises `ValueError`."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(
            f"`{name}` must be a positive, finite number; {advice}. Received: {name}={value}"
        )
    return float(value)


def one_of(name, value, known):
    """Returns `value` if it is among `known`, else raises `ValueError` listing them."""
    if value not in known:
        raise ValueError(f"`{name}` must be one of {list(known)}. Received: {name}={value!r}")
    return value


def floating_tensor(name, value, advice=None):
    """Returns `value` as a tensor of floats: Python and NumPy integers are refused."""
    tensor = keras.ops.convert_to_tensor(value)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype:
        advice = advice or f'cast it with `keras.ops.cast({name}, "float32")`'
        raise ValueError(
            f"`{name}` must be of a floating dtype, on the scale that is documented; {advice}. "
            f"Received: {name} of dtype {dtype}"
        )
    return tensor


def axis_of(name, tensor, axis):
    """Returns `axis` of `tensor` counted from the front, else raises `ValueError`."""
    rank = len(tensor.shape)
    if rank == 0:
        raise ValueError(f"`{name}` must have an axis to rank along. Received: a scalar")
    whole = isinstance(axis, numbers.Integral) and not isinstance(axis, bool)
    if not whole or not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must be an integer from {-rank} to {rank - 1}, an axis of `{name}` of shape "
            f"{tuple(tensor.shape)}. Received: axis={axis!r}"
        )
    return int(axis) % rank


def mask_of(name, tensor, mask):
    """Returns `mask` as booleans of the shape of `tensor`, else raises `ValueError`."""
    mask = keras.ops.convert_to_tensor(mask)
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if dtype != "bool" or not same_shape(mask, tensor):
        raise ValueError(
            f"`mask` must be booleans of the shape of `{name}`, true where a slot is real. "
            f"Received: mask of dtype {dtype} and shape {tuple(mask.shape)}, {name} of shape "
            f"{tuple(tensor.shape)}"
        )
    return mask


def same_shape(left, right):
    """Whether two tensors have the same shape, as far as it is known."""
    pairs = zip(left.shape, right.shape)
    return len(left.shape) == len(right.shape) and all(
        a == b for a, b in pairs if None not in (a, b)
    )
