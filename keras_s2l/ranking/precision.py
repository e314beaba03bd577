"""The precision in which ranks are computed."""

import keras
from keras import ops


def widened(scores):
    """`scores` in float32, or as they are in float64: half precision moves ranks by up to 0.5."""
    if keras.backend.standardize_dtype(scores.dtype) == "float64":
        return scores
    return ops.cast(scores, "float32")
