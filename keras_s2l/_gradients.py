"""One custom-gradient convention for TensorFlow, JAX and PyTorch."""

import functools

import keras


def custom_gradient(function):
    """Gives `function` the gradient that it returns.

    `function(*tensors)` returns one tensor and its pullback: `pullback(upstream)` is the tuple of
    gradients, one for each of the tensors. TensorFlow and JAX call a gradient with the upstream
    alone, PyTorch with the arguments too and the upstream by name: this hides the difference.
    """

    def with_gradient(*tensors):
        output, pullback = function(*tensors)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            gradients = pullback(upstream)
            return gradients[0] if len(gradients) == 1 else gradients

        return output, gradient

    return functools.wraps(function)(keras.ops.custom_gradient(with_gradient))
