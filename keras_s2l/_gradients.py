"""One custom-gradient convention for TensorFlow, JAX and PyTorch."""

import functools

from keras import ops

from keras_s2l._compiled import compiled


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

    return functools.wraps(function)(ops.custom_gradient(with_gradient))


def differentiable(forward, backward):
    """An op, compiled as a whole, whose derivative by its first tensor is `backward`.

    One compiled call for the value and one for the gradient is also what TensorFlow does fastest
    where it is called eagerly.

    Args:
        forward: `forward(*tensors, **constants)` returns the output and the tensors to keep.
        backward: `backward(upstream, *kept, **constants)` returns the gradient.
    """

    @functools.wraps(forward)
    def op(*tensors, **constants):
        @custom_gradient
        def with_pullback(*tensors):
            # For TensorFlow would differentiate what is kept too, in case somebody asks.
            constant = [ops.stop_gradient(x) for x in tensors]
            output, *kept = forward(*constant, **constants)
            return output, lambda upstream: (backward(upstream, *kept, **constants),)

        return with_pullback(*tensors)

    return compiled(op)
