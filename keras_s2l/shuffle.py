"""Shuffled patches and the order that undoes it: `shuffled[b, i] == patches[b, order[b, i]]`."""

import keras
from keras import ops

from keras_s2l._orders import refuse_no_permutations
from keras_s2l._seeds import ReplicaSeedGenerator, SavedDraws
from keras_s2l.permutations import as_permutations


def shuffle_patches(patches, order):
    """Puts patch `order[b, i]` of each example into slot `i`.

    Args:
        patches: Tensor of shape `(batch, num_patches, ...)`.
        order: Integer tensor of shape `(batch, num_patches)`, each row a permutation.

    Returns:
        Tensor of the shape of `patches`.

    Raises:
        ValueError: If a row of `order` is seen not to be a permutation; in a compiled step it
            cannot be seen.

    Example:
    >>> shuffle_patches(np.array([[10, 20, 30]]), np.array([[2, 0, 1]]))   # [[30, 10, 20]]
    """
    refuse_no_permutations(order)
    return gathered(patches, order)


def gathered(patches, order):
    """As `shuffle_patches`, of orders that are known to be permutations."""
    sizes = tuple(ops.shape(patches))
    order = ops.cast(order, "int32")
    if keras.backend.backend() == "jax":
        # Within each example: of the gather below XLA cannot tell that it stays there, and has
        # every device of a distribution compute the whole batch.
        return ops.take_along_axis(
            patches, ops.reshape(order, (*sizes[:2], *(1,) * (len(sizes) - 2))), axis=1
        )
    first = sizes[1] * ops.arange(sizes[0], dtype="int32")[:, None]
    flat = ops.reshape(patches, (-1, *sizes[2:]))
    # One gather of whole patches: the only copy.
    taken = ops.take(flat, ops.reshape(order + first, (-1,)), axis=0)
    return ops.reshape(taken, sizes)


def unshuffle_patches(shuffled, order):
    """Puts the patch in slot `i` back to its place `order[b, i]`: undoes `shuffle_patches`.

    Args:
        shuffled: Tensor of shape `(batch, num_patches, ...)`.
        order: Integer tensor of shape `(batch, num_patches)`, each row a permutation.

    Returns:
        Tensor of the shape of `shuffled`.

    Raises:
        ValueError: As `shuffle_patches`.

    Example:
    >>> unshuffle_patches(np.array([[30, 10, 20]]), np.array([[2, 0, 1]]))   # [[10, 20, 30]]
    """
    refuse_no_permutations(order)
    return gathered(shuffled, ops.argsort(order, axis=1))


@keras.saving.register_keras_serializable(package="keras_s2l")
class PatchShuffle(SavedDraws, keras.layers.Layer):
    """Shuffles the patches of each example by a permutation, any of the `num_patches!` or of a set.

    It shuffles whenever it is called, in training and in inference: it is the pretext task, not an
    augmentation.

    Args:
        seed: Integer from which all permutations follow, or `None` for one drawn at random. The
            permutations differ between examples, calls, and replicas of a strategy.
        permutations: `None` for all of them, or integers `(num_permutations, num_patches)`, the
            only ones to draw from: the baseline, see `fixed_permutations`.

    Call with patches `(batch, num_patches, ...)`, and optionally the `order` to use in place of a
    fresh one. Returns `(shuffled, order)`: the patches, and int32 `(batch, num_patches)` with
    `shuffled[b, i] == patches[b, order[b, i]]`. `order` is the label: sorting the patches by rank
    restores the input.

    Raises:
        ValueError: If `permutations` are not distinct permutations, or not of as many patches as
            the inputs have.

    Example:
    >>> patches = np.random.rand(2, 10, 98, 6, 1)
    >>> shuffled, order = PatchShuffle(seed=0)(patches)
    >>> restored = unshuffle_patches(shuffled, order)   # == patches

    Reference: the paper, section II: permutations are drawn on the fly, all `n!` are targets.
    """

    def __init__(self, seed=None, permutations=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.permutations = None if permutations is None else as_permutations(permutations)
        self.seed_generator = ReplicaSeedGenerator(seed)
        self._first_state = ops.convert_to_numpy(self.seed_generator.state.value)

    def build(self, *shapes):
        self.built = True

    def call(self, patches, order=None):
        if order is None:
            order = self._draw_order(ops.shape(patches)[0], patches.shape[1])
        else:
            refuse_no_permutations(order)
        return gathered(patches, order), ops.cast(order, "int32")

    def _draw_order(self, batch, num_patches):
        """Fresh permutations, int32 `(batch, num_patches)`."""
        if self.permutations is not None:
            if num_patches != self.permutations.shape[1]:
                raise ValueError(
                    f"The inputs must have {self.permutations.shape[1]} patches, as the "
                    f"`permutations` have. Received: {num_patches} patches"
                )
            chosen = keras.random.randint(
                (batch,), 0, len(self.permutations), seed=self.seed_generator
            )
            return ops.take(self.permutations, chosen, axis=0)
        keys = keras.random.uniform((batch, num_patches), dtype="float32", seed=self.seed_generator)
        return ops.cast(ops.argsort(keys, axis=1), "int32")

    def reset(self):
        """Starts the permutations again from the seed."""
        self.seed_generator.state.assign(self._first_state)

    def compute_output_spec(self, patches, order=None):
        order_spec = keras.KerasTensor(tuple(patches.shape[:2]), dtype="int32")
        return keras.KerasTensor(patches.shape, dtype=patches.dtype), order_spec

    def compute_output_shape(self, patches_shape, order_shape=None):
        return patches_shape, tuple(patches_shape[:2])

    def get_config(self):
        permutations = None if self.permutations is None else self.permutations.tolist()
        return {**super().get_config(), "seed": self.seed, "permutations": permutations}
