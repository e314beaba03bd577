"""Rows that break naive ranking ops, and the gradient of one."""

import numpy as np
import tensorflow as tf

HOSTILE_ROWS = {
    "ties": [1.0, 0.0, 1.0, 0.0],
    "all equal": [3.0, 3.0, 3.0, 3.0],
    "infinite": [np.inf, 0.0, -np.inf, 1.0],
    "equal infinities": [np.inf, np.inf, -np.inf, -np.inf],
    "huge": [1e30, -1e30, 2e30, 0.0],
    "largest": [3e38, -3e38, 0.0, 1.0],
    "offset": [1e6, 1e6 + 1, 1e6 - 1, 1e6 + 2],
}


def gradient_of(op, scores, upstream):
    scores = tf.convert_to_tensor(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        ranks = op(scores)
    return tape.gradient(ranks, scores, output_gradients=tf.cast(upstream, scores.dtype))
