"""Compiles the core of an op once for each shape, also where the op is called eagerly."""

import functools
import inspect

import keras

LONG = 256  # Scores in a row; to trace so much for each batch size is little beside compiling it.


def compiled(function):
    """Compiles `function(*tensors, *, ...)` by XLA; its keyword-only arguments are constants.

    On TensorFlow the core is a compiled island wherever the call stands: eager, in a plain graph,
    in `tf.data`; inside a program that is compiled as a whole it is a part of that. PyTorch runs it
    as it is.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf  # Not a dependency of the other backends.

        @functools.cache
        def program(signature, eager, **constants):
            # One for each shape and each set of constants: `tf.function` would read the constants
            # at every call, most of what an eager call costs, and take what it had made for an
            # unknown length also for known ones, for which there are better ways. Eager calls have
            # their own, for any batch: once its gradient was taken in a graph, a function returns
            # hundreds of intermediate values. In a graph the batch, where known, stays known.
            def core(*tensors):
                return function(*tensors, **constants)

            specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
            return tf.function(core, input_signature=specs, jit_compile=True, autograph=False)

        @functools.wraps(function)
        def run(*tensors, **constants):
            eager = tf.executing_eagerly()
            any_batch = eager and constants.get("axis") != 0
            if any_batch:  # But how long rows are worked on may depend on how many there are.
                any_batch = all(max(x.shape[1:], default=0) <= LONG for x in tensors)
            shapes = [_without_batch(x.shape) if any_batch else tuple(x.shape) for x in tensors]
            signature = tuple((shape, x.dtype) for shape, x in zip(shapes, tensors))
            return program(signature, eager, **constants)(*tensors)

        return run
    if backend == "jax":
        import jax

        parameters = inspect.signature(function).parameters.values()
        constants = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        return functools.wraps(function)(jax.jit(function, static_argnames=constants))
    return function


def _without_batch(shape):
    return (None, *shape[1:]) if len(shape) > 1 else tuple(shape)


@functools.cache
def xla_on_cpu():
    """Whether compiled code runs on a processor, with nothing faster in the machine."""
    if keras.backend.backend() == "torch":
        return False
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())


def computed_once(x, alive):
    """`x`, kept by XLA on a processor from being computed again wherever a slice of it is taken.

    XLA fuses what makes `x` into each of the n slices that a loop over columns takes, and so does
    its work n times; a conditional is the one fence it does not look through. On other devices it
    would only cost.

    Args:
        x: Tensor.
        alive: Boolean scalar that depends on the data and is true; see `alive`.
    """
    if not xla_on_cpu():
        return x
    # Not zeros: `tf.vectorized_map` needs both branches to depend on `x`.
    return keras.ops.cond(alive, lambda: x, lambda: keras.ops.flip(x, axis=1))


def alive(rows):
    """A boolean that depends on the data of `rows` `(batch, n)` and is true."""
    first = keras.ops.cast(rows[:1, :1], "float32")  # XLA knows that integers equal themselves.
    # Infinite scores may have become NaN, which is not equal to itself.
    return keras.ops.any(keras.ops.logical_or(first == first, keras.ops.isnan(first)))
