"""How strong a strength is, for given scores."""

import collections

from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.projections import REGULARIZATIONS
from keras_s2l.ranking.rows import checked, count_real, scores_to_rows

RankStrengths = collections.namedtuple("RankStrengths", ["hard", "pooled"])
RankStrengths.__doc__ = """What `rank_strengths` returns: between which strengths ranks are soft.

Attributes:
    hard: Below it soft ranks are the hard ones; float tensor, of the shape of the scores without
        the axis that is ranked.
    pooled: Above it all scores of a row are one block; the same.

Example:
>>> RankStrengths(hard=1.0, pooled=3.0).hard   # 1.0
"""


def rank_strengths(scores, regularization="l2", axis=-1, mask=None):
    """The strengths between which soft ranks of these scores are soft.

    Below `hard` the soft ranks are exactly the hard ones, and their gradient is zero. Above
    `pooled` all scores of a row are one block: "l2" ranks are then
    `(n - 1) / 2 + (score - mean) / strength`, the order no longer matters, and they go to the
    constant `(n - 1) / 2`. A useful strength lies between the two.

    Args:
        scores: Floating tensor of rank 1 or more.
        regularization: "l2" or "kl", as in `soft_rank`.
        axis: Integer, the axis along which scores are ranked.
        mask: Booleans of the shape of `scores`, true where a slot is real; None if all are.

    Returns:
        A named tuple `RankStrengths(hard, pooled)` of tensors of the shape of `scores` without
        `axis`. Rows with ties have a `hard` of 0: ties share their rank at any strength. Rows of
        less than two scores have `hard` infinite and `pooled` 0, rows with a NaN NaN.

    Raises:
        ValueError: As `soft_rank`.

    Example:
    >>> rank_strengths(np.array([5.0, 1.0, 2.0]))   # RankStrengths(hard=1.0, pooled=3.0)

    Reference: Blondel et al., 2020, lemma 3, https://arxiv.org/abs/2002.08871
    """
    _checks.one_of("regularization", regularization, REGULARIZATIONS)
    scores, mask, axis = checked(scores, "ascending", axis, mask)
    values, present, undefined = scores_to_rows(scores, mask, "ascending", axis)
    ordered = ops.flip(ops.sort(values, axis=1), axis=1)
    upper, lower = ordered[:, :-1], ordered[:, 1:]
    gaps = ops.where(upper == lower, ops.zeros_like(upper), upper - lower)
    # Not of n - 1, which is -1 for rows of none.
    places = ops.arange(ops.shape(values)[1], dtype="int32")[None, :-1]
    below = count_real(values, present) - 1 - places
    steps = ops.ones_like(gaps)
    if regularization == "kl":
        below = ops.cast(below, gaps.dtype)
        steps = ops.log1p(1 / ops.maximum(below, 1.0))
    ratios = gaps / steps
    inside = ops.cast(below, gaps.dtype) > 0.5
    hard = ops.min(ops.where(inside, ratios, float("inf")), axis=1, initial=float("inf"))
    pooled = ops.max(ops.where(inside, ratios, 0.0), axis=1, initial=0.0)
    sizes = [size for i, size in enumerate(ops.shape(scores)) if i != axis]
    bounds = [ops.where(undefined[:, 0], float("nan"), bound) for bound in (hard, pooled)]
    return RankStrengths(*(ops.reshape(ops.cast(x, scores.dtype), sizes) for x in bounds))
