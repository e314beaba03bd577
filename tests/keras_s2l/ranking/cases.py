"""Scores that break naive ranking ops, and the gradient of one.

Every new shape costs a compilation, so tests share these: (7, n), and `hostile_rows(n)`.
"""

import numpy as np
import tensorflow as tf

STRENGTHS = [1e-8, 1e-4, 1e-2, 0.3, 1.0, 10.0, 100.0, 1e4, 1e8]
LENGTHS = [9, 5, 1, 0, 2, 8, 3]  # Of the seven rows of `mask_and_scores`.


def scores_of(n, seed=0, batch=7):
    return np.random.RandomState(seed).randn(batch, n)


def hostile_rows(n):
    """float32 `(13, n)`: ties, infinities, offsets, all scales, soft clusters far apart."""
    random = np.random.RandomState(0)
    soft = random.randn(n)
    rows = [
        *(soft, soft * 1e30, soft * 1e-30, 1e6 + random.randint(-16, 16, n) / 8),
        np.where(random.rand(n) < 0.5, soft, random.choice([np.inf, -np.inf], n)),
        *(random.randint(0, 3, n), np.full(n, 3.0), np.full(n, np.inf)),
        random.choice([0.0, 1e10, -1e30, 3e38, -3e38], n) + random.randn(n),
        random.choice([0.0, 100.0, 1e4], n) + random.randn(n),
        *(np.arange(n) * 1.0, np.arange(n) * -0.5, np.cumsum(10.0 ** random.uniform(-8, 8, n))),
    ]
    return np.array(rows, "float32")


def mask_and_scores(absent=np.nan, seed=0):
    """`(7, 9)` each: rows of `LENGTHS` real slots, anywhere, and `absent` in the others."""
    random = np.random.RandomState(seed)
    mask = np.array([random.permutation(np.arange(9) < length) for length in LENGTHS])
    return mask, np.where(mask, random.randn(7, 9), absent)


def row_by_row(reference, mask, scores, absent=-1.0):
    """`reference` of the real slots of each row alone, `absent` in the others."""
    result = np.full(scores.shape, absent)
    for row, (real, values) in enumerate(zip(mask, scores)):
        if real.any():
            result[row, real] = reference(values[real])
    return result


def gradient_of(op, scores, upstream):
    scores = tf.convert_to_tensor(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        ranks = op(scores)
    return tape.gradient(ranks, scores, output_gradients=tf.cast(upstream, scores.dtype))


def finite_differences(op, scores, upstream, delta=1e-6):
    """Slope of `sum(upstream * op(scores))` along each score, of all rows at once."""
    slopes = np.zeros(scores.shape)
    for column in range(scores.shape[1]):
        step = np.zeros(scores.shape)
        step[:, column] = delta
        rise = op(scores + step).numpy() - op(scores - step).numpy()
        slopes[:, column] = (upstream * rise).sum(axis=1) / (2 * delta)
    return slopes
