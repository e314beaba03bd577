"""Which permutations a task learns from."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Orders:
    """Which permutations are drawn.

    Attributes:
        num_patches: Length of each.
        permutations: Integers `(num_permutations, num_patches)`, the only ones; None for all.
    """

    num_patches: int
    permutations: np.ndarray | None = None

    def draw(self, count, seed):
        """Permutations int32 `(count, num_patches)` that follow from a stateless seed."""
        if self.permutations is None:
            return tf.argsort(tf.random.stateless_uniform([count, self.num_patches], seed), axis=1)
        last = len(self.permutations)
        chosen = tf.random.stateless_uniform([count], seed, 0, last, tf.int32)
        return tf.gather(tf.constant(self.permutations, tf.int32), chosen)
