"""Ranking ops and a step of `fit` on whichever backend Keras runs on: numbers against NumPy.

`KERAS_BACKEND=torch python -m tests.backend_numbers` prints what it has checked, or fails.
"""

import functools

import keras
import numpy as np

import keras_s2l
from tests import references

BACKEND = keras.backend.backend()


def value_and_gradient(op, scores, upstream, compiled):
    """Ranks and their gradient, as NumPy arrays."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def both(scores):
            with tf.GradientTape() as tape:
                tape.watch(scores)
                ranks = op(scores)
            return ranks, tape.gradient(ranks, scores, output_gradients=upstream)

        both = tf.function(both, jit_compile=True, autograph=False) if compiled else both
        results = both(tf.constant(scores))
    elif BACKEND == "jax":
        import jax

        def both(scores):
            ranks, pullback = jax.vjp(op, scores)
            return ranks, pullback(jax.numpy.asarray(upstream))[0]

        results = (jax.jit(both) if compiled else both)(jax.numpy.asarray(scores))
    else:
        import torch

        scores = torch.tensor(scores, requires_grad=True)
        ranks = op(scores)
        ranks.backward(torch.tensor(upstream))
        results = ranks.detach(), scores.grad
    return [keras.ops.convert_to_numpy(x) for x in results]


def check(name, op, reference, jacobian, num_patches, compiled):
    """`op(strength, scores)` and its gradient against slow references."""
    random = np.random.RandomState(0)
    scores = random.randn(3, num_patches).astype("float32")
    upstream = random.randn(3, num_patches).astype("float32")
    for strength in (0.3, 3.0):
        call = functools.partial(op, strength)
        ranks, gradient = value_and_gradient(call, scores, upstream, compiled)
        truth = [reference(row, strength) for row in scores]
        np.testing.assert_allclose(ranks, truth, atol=1e-5 * num_patches)
        if jacobian is not None:
            slopes = [jacobian(row, strength) @ u for row, u in zip(scores, upstream)]
            np.testing.assert_allclose(gradient, slopes, atol=1e-4 * num_patches)
    print(f"{BACKEND} {name} n={num_patches} compiled={compiled}: as in NumPy")


def main():
    jacobian, ranks = references.soft_rank_jacobian, references.pooled_ranks
    cases = {
        "soft_rank l2": (
            lambda strength, scores: keras_s2l.soft_rank(scores, strength),
            references.soft_rank,
            jacobian,
        ),
        "soft_rank kl": (
            lambda strength, scores: keras_s2l.soft_rank(scores, strength, "kl"),
            lambda row, strength: ranks(row, strength, "kl")[0],
            lambda row, strength: jacobian(row, strength, "kl"),
        ),
        "soft_sort l2": (
            lambda strength, scores: keras_s2l.soft_sort(scores, strength),
            references.soft_sort,
            None,
        ),
        "perturbed_rank": (
            lambda sigma, scores: keras_s2l.perturbed_rank(scores, sigma),
            references.perturbed_rank,
            None,
        ),
    }
    for compiled in (False,) if BACKEND == "torch" else (False, True):
        for name, case in cases.items():
            for num_patches in (1, 2, 9, 40):
                check(name, *case, num_patches, compiled)
    if BACKEND == "torch":  # The model trains on TensorFlow and JAX.
        return
    spectrograms = np.random.RandomState(0).rand(8, 16, 12, 1).astype("float32")
    backbone = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8)])
    model = keras_s2l.ShuffleToLearn(backbone, num_patches=4, axis="frequency", seed=0)
    model.compile(optimizer="adam", loss=keras_s2l.SoftRankLoss())
    history = model.fit(spectrograms, batch_size=4, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    print(f"{BACKEND} fit: finite losses")


if __name__ == "__main__":
    main()
