"""The perturbed rank in closed form: the expected rank under Gaussian noise, without sampling."""

import math

from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.precision import widened


def perturbed_rank(scores, sigma=1.0):
    """Expected rank of each score within its row when Gaussian noise is added to all of them.

    A rank counts the scores below, so its expectation is a sum over pairs, and exact:
    `E[rank_i] = Σ_{j≠i} Φ((scores_i - scores_j) / (√2 sigma))`, with Φ the normal distribution
    function. It has no variance and no samples, and is smooth: any derivative is available.

    Args:
        scores: Floating tensor of shape `(batch, num_patches)`. float16 and bfloat16 are computed
            in float32.
        sigma: Positive float, the standard deviation of the noise. Larger is softer.

    Returns:
        Ranks in `[0, num_patches - 1]`, of the shape and dtype of `scores`; the lowest score has
        the lowest rank. Each row sums to `num_patches * (num_patches - 1) / 2`.

    Raises:
        ValueError: If `scores` is not a floating tensor of rank 2 or `sigma` is not positive.

    Example:
    >>> perturbed_rank(np.array([[5.0, 1.0, 2.0]]), sigma=1.0)   # about [[1.98, 0.24, 0.78]]

    Reference: Berthet et al., Learning with Differentiable Perturbed Optimizers, 2020, section 2,
    https://arxiv.org/abs/2002.08676; the closed form for ranks is ours.
    """
    scores = _checks.scores_matrix(scores)
    sigma = _checks.positive_float("sigma", sigma, "try 1.0, lower it for harder ranks")
    dtype = scores.dtype
    margins = pairwise_margins(scores)
    above = normal_cdf(margins / (math.sqrt(2) * sigma))
    # Each score also counts itself as half below: Φ(0) = 1/2.
    return ops.cast(ops.sum(above, axis=2) - 0.5, dtype)


def pairwise_margins(scores):
    """`margins[b, i, j] = scores[b, i] - scores[b, j]`, in float32 or better; ties are 0."""
    scores = widened(scores)
    left, right = scores[:, :, None], scores[:, None, :]
    # Equal infinities are ties. The inner choice keeps their NaN out of the gradient.
    infinite_tie = (left == right) & ops.isinf(left)
    return ops.where(infinite_tie, 0.0, left) - ops.where(infinite_tie, 0.0, right)


def normal_cdf(x):
    """Distribution function of the standard normal law."""
    return 0.5 * (1 + ops.erf(x / math.sqrt(2)))


def normal_density(x):
    """Density of the standard normal law."""
    return ops.exp(-0.5 * ops.square(x)) / math.sqrt(2 * math.pi)
