"""The ordinary rank, which the soft ones approach."""

from keras import ops

from keras_s2l import _checks


def hard_rank(scores):
    """Rank of each score within its row; the lowest is 0.

    Equal scores are ranked in the order in which they stand. There is no gradient. Use it at test
    time, where the place of each patch is wanted.

    Args:
        scores: Floating tensor of shape `(batch, num_patches)`.

    Returns:
        int32 tensor of the same shape, each row a permutation of `0 … num_patches - 1`.

    Raises:
        ValueError: If `scores` is not a floating tensor of rank 2.

    Example:
    >>> hard_rank(np.array([[5.0, 1.0, 2.0]]))   # [[2, 0, 1]]
    """
    scores = _checks.scores_matrix(scores)
    scores = ops.where(scores == 0, ops.zeros_like(scores), scores)  # XLA sorts -0.0 before 0.0.
    return ops.cast(ops.argsort(ops.argsort(scores, axis=-1), axis=-1), "int32")
