"""One voice for errors: what was expected, what came, how to mend it."""

import numbers

import keras


def positive_int(name, value, advice):
    """Returns `value` as an int if it is a whole number above 0, else raises `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer; {advice}. Received: {name}={value}")
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


def floating_tensor(name, value):
    """Returns `value` as a tensor of floats: Python and NumPy integers are refused."""
    tensor = keras.ops.convert_to_tensor(value)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"`{name}` must be of a floating dtype, on the scale that is documented; cast it with "
            f'`keras.ops.cast({name}, "float32")`. Received: {name} of dtype {dtype}'
        )
    return tensor


def scores_matrix(scores):
    """Returns `scores` as a floating tensor of shape `(batch, num_patches)`."""
    scores = floating_tensor("scores", scores)
    if len(scores.shape) != 2 or scores.shape[1] is None:
        raise ValueError(
            "`scores` must have shape (batch, num_patches), with a known number of patches. "
            f"Received: scores of shape {tuple(scores.shape)}"
        )
    return scores
