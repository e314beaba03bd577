"""One custom-gradient convention for TensorFlow, JAX and PyTorch."""

import functools

import keras


def custom_gradient(function):
    """Gives `function` the gradient that it returns.

    `function(*tensors)` returns one tensor and its pullback: `pullback(upstream)` is the tuple of
    gradients of the first tensors; the others have none. All that is traced must be passed: JAX
    cannot differentiate by what a function closes over. TensorFlow and JAX call a gradient with the
    upstream alone, PyTorch with the arguments too and the upstream by name: this hides it.
    """

    def with_gradient(*tensors):
        output, pullback = function(*tensors)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            gradients = pullback(upstream)
            gradients += (None,) * (len(tensors) - len(gradients))
            return gradients[0] if len(gradients) == 1 else gradients

        return output, gradient

    return functools.wraps(function)(keras.ops.custom_gradient(with_gradient))
