"""How the benchmark of ranking ops calls what it times.

Each function here gives `run(count)`: it solves a problem so many times, waits for the result and
returns the last ranks and gradient, where it can tell them apart.
"""

import dataclasses

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    """Soft ranks of rows and, if `backward`, their gradient for a fixed upstream gradient.

    `strength` and `regularization` are `None` for a contender that has none.
    """

    scores: np.ndarray  # (batch, n)
    upstream: np.ndarray  # (batch, n)
    strength: float | None
    regularization: str | None
    backward: bool


def draw(batch, n, seed):
    """Scores and an upstream gradient, both float32 of the standard normal law."""
    random = np.random.default_rng([seed, batch, n])
    return tuple(random.standard_normal((2, batch, n)).astype("float32"))


def in_graph(rank, problem):
    """Chained within one compiled program of the backend: what the op itself takes."""
    return (_jax_chain if keras.backend.backend() == "jax" else _tf_chain)(rank, problem)


def per_call(rank, problem):
    """One compiled program of the backend for each call, with the way there and back."""
    return (jax_calls if keras.backend.backend() == "jax" else tf_calls)(rank, problem)


def eager(rank, problem):
    """Op by op, as TensorFlow runs it outside of a graph."""
    return tf_calls(rank, problem, compiled=False)


def _tf_step(rank, backward):
    """From scores and upstream gradient to the ranks and, if wanted, the gradient."""
    import tensorflow as tf

    def step(scores, upstream):
        if not backward:
            return (rank(scores),)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            ranks = rank(scores)
        return ranks, tape.gradient(ranks, scores, upstream)

    return step


def _tf_chain(rank, problem):
    """Chained in one compiled program: the next scores wait for the ranks and the gradient."""
    import tensorflow as tf

    step = _tf_step(rank, problem.backward)

    @tf.function(jit_compile=True, autograph=False)
    def chain(scores, upstream, count):
        def advance(i, scores):
            results = step(scores, upstream)
            return i + 1, scores + 1e-30 * sum(tf.cast(x, scores.dtype) for x in results)

        return tf.while_loop(lambda i, scores: i < count, advance, (0, scores))[1]

    scores, upstream = tf.constant(problem.scores), tf.constant(problem.upstream)

    def run(count):
        chain(scores, upstream, tf.constant(count)).numpy()

    return run


def tf_calls(rank, problem, compiled=True):
    """One call of TensorFlow after the other."""
    import tensorflow as tf

    step = _tf_step(rank, problem.backward)
    if compiled:
        step = tf.function(step, jit_compile=True, autograph=False)
    scores, upstream = tf.constant(problem.scores), tf.constant(problem.upstream)
    return repeated(lambda: [x.numpy() for x in step(scores, upstream)])


def _jax_step(rank, backward):
    import jax

    def step(scores, upstream):
        if not backward:
            return (rank(scores),)
        ranks, pullback = jax.vjp(rank, scores)
        return ranks, *pullback(upstream)

    return step


def _jax_chain(rank, problem):
    import jax

    step = _jax_step(rank, problem.backward)

    @jax.jit
    def chain(scores, upstream, count):
        def advance(i, scores):
            return scores + 1e-30 * sum(x.astype(scores.dtype) for x in step(scores, upstream))

        return jax.lax.fori_loop(0, count, advance, scores)

    scores, upstream = jax.numpy.array(problem.scores), jax.numpy.array(problem.upstream)

    def run(count):
        chain(scores, upstream, count).block_until_ready()

    return run


def jax_calls(rank, problem):
    """One call of a jitted JAX function after the other."""
    import jax

    step = jax.jit(_jax_step(rank, problem.backward))
    scores, upstream = jax.numpy.array(problem.scores), jax.numpy.array(problem.upstream)
    return repeated(lambda: jax.block_until_ready(step(scores, upstream)))


def torch_calls(rank, problem):
    """One call of PyTorch after the other, through its autograd."""
    import torch

    scores = torch.tensor(problem.scores, requires_grad=problem.backward)
    upstream = torch.tensor(problem.upstream)

    def call():
        ranks = rank(scores)
        gradient = torch.autograd.grad(ranks, scores, upstream) if problem.backward else ()
        return ranks.detach(), *gradient

    return repeated(call)


def repeated(call):
    """`run(count)` of a call that ends with its results ready."""

    def run(count):
        for _ in range(count):
            results = call()
        return results

    return run
