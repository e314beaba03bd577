"""Ranking metrics, called as `metric(order, scores)`: means over examples of hard ranks' quality.

All count pairs of slots, and so hold `(batch, num_patches, num_patches)` numbers for a moment.
"""

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._orders import order_and_mask


def _signs(values, present):
    """For each pair of slots 1 if `i` is above `j`, -1 if below, 0 if equal or either is absent.

    `(batch, n)` -> `(batch, n, n)`. Compared, not subtracted: equal infinities are ties.
    """
    mine, other = values[:, :, None], values[:, None, :]
    above, below = ops.cast(mine > other, "float32"), ops.cast(mine < other, "float32")
    both = present[:, :, None] & present[:, None, :]
    return ops.where(both, above - below, 0.0)


def _right_places(order, scores, present):
    """Whether each slot is put where it belongs; equal scores rank as they stand: `(batch, n)`."""
    mine, other = scores[:, :, None], scores[:, None, :]
    slots = ops.arange(ops.shape(scores)[1])
    lower = (other < mine) | ((other == mine) & (slots[None, :] < slots[:, None]))
    ranks = ops.sum(ops.cast(lower & present[:, None, :], "int32"), axis=2)
    return ranks == order  # Nowhere in an absent slot: ranks start at 0.


def _similarity(x, y):
    """Cosine of the angle between the rows of `x` and `y`, 0 where either is 0: `(batch,)`."""
    lengths = ops.sqrt(ops.sum(x * x, axis=1) * ops.sum(y * y, axis=1))
    return ops.divide_no_nan(ops.sum(x * y, axis=1), lengths)


def _patch_accuracy(order, scores, present):
    right = ops.sum(ops.cast(_right_places(order, scores, present), "float32"), axis=1)
    return right / ops.maximum(ops.sum(ops.cast(present, "float32"), axis=1), 1.0)


def _exact_order_accuracy(order, scores, present):
    right = _right_places(order, scores, present)
    return ops.cast(ops.all(right | ~present, axis=1), "float32")


def _kendall_tau(order, scores, present):
    signs = (_signs(values, present) for values in (order, scores))
    pairs = ops.shape(order)[0], ops.shape(order)[1] ** 2
    return _similarity(*(ops.reshape(x, pairs) for x in signs))


def _spearman_rho(order, scores, present):
    # How many slots are below less how many are above: twice the average rank, centred.
    return _similarity(*(ops.sum(_signs(values, present), axis=2) for values in (order, scores)))


def _weight_of_each(sample_weight, dtype):
    """`sample_weight` as a tensor of shape `(batch,)` or `()`; `None` is 1."""
    weight = ops.convert_to_tensor(1.0 if sample_weight is None else sample_weight, dtype)
    shape = tuple(weight.shape)
    if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
        raise ValueError(
            "`sample_weight` must give one weight for each example, shape (batch,); to leave out "
            "single slots put -1 in `order`. Received: sample_weight of shape "
            f"{shape}"
        )
    return weight[:, 0] if len(shape) == 2 else weight


class _RankingMetric(keras.metrics.Mean):
    """Weighted mean over examples of `self._of_each(order, scores, present)`, of shape `(batch,)`.

    Slots where `order` is -1 are absent. An example with fewer than `self._fewest` present ones has
    no weight, whatever it was given; one with NaN among its present scores is worth 0.
    """

    _fewest = 1
    _direction = "up"  # For callbacks in mode "auto".

    def update_state(self, order, scores, sample_weight=None):
        scores = _checks.floating_tensor("scores", scores)
        order, present = order_and_mask(order, scores)
        if keras.backend.standardize_dtype(scores.dtype) != "float64":
            scores = ops.cast(scores, "float32")
        not_numbers = ops.any(ops.isnan(scores) & present, axis=1)
        values = ops.where(not_numbers, 0.0, self._of_each(order, scores, present))
        enough = ops.sum(ops.cast(present, "int32"), axis=1) >= self._fewest
        # Chosen, not multiplied: the weight of an example that is left out may be anything.
        weight = ops.where(enough, _weight_of_each(sample_weight, self.dtype), 0.0)
        super().update_state(values, sample_weight=weight)


@keras.saving.register_keras_serializable(package="keras_s2l")
class PatchAccuracy(_RankingMetric):
    """Share of patches ranked in their right place: chance is `1 / num_patches`.

    An example is worth the share of its own present patches, so that short ones count as much as
    long ones. Patches of equal score rank as they stand.

    Call with `order` and `scores`, both `(batch, num_patches)`: the 0-based rank of each patch in
    numbers of any dtype, -1 in absent slots, whose scores do not matter; and floats, of which the
    lowest belongs first. Weigh by `sample_weight` `(batch,)`. Examples without a present patch do
    not count; with NaN among the scores of present patches they count as 0.

    Raises:
        ValueError: If the shapes differ, if `scores` are not floats, or if the labels can be seen
            and are not ranks (in a compiled step, as in `fit`, they cannot).

    Example:
    >>> PatchAccuracy()(np.array([[0, 1, 2]]), np.array([[2.0, 1.0, 3.0]]))   # 1/3
    >>> PatchAccuracy()(np.array([[0, 1, -1]]), np.array([[1.0, 2.0, 0.0]]))   # 1.0

    Reference: Carr et al., 2021, https://arxiv.org/abs/2103.09879; the paper's "partial ranks".
    """

    _of_each = staticmethod(_patch_accuracy)

    def __init__(self, name="patch_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class ExactOrderAccuracy(_RankingMetric):
    """Share of examples of which every patch is ranked in its right place.

    Chance is one in the number of orders, `1 / num_patches!`. Patches of equal score rank as they
    stand.

    Call as `PatchAccuracy`: absent slots take no part, examples without a present patch do not
    count, and NaN among the scores of present patches counts as 0.

    Raises:
        ValueError: As `PatchAccuracy`.

    Example:
    >>> ExactOrderAccuracy()(np.array([[0, 1, 2]]), np.array([[1.0, 2.0, 3.0]]))   # 1.0
    """

    _of_each = staticmethod(_exact_order_accuracy)

    def __init__(self, name="exact_order_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class KendallTau(_RankingMetric):
    """Kendall's tau-b between the order and the scores: 1 right, -1 backwards, chance is 0.

    Pairs in their right order less pairs in the wrong one, as a share of all pairs but for a
    correction for ties of the scores. Finer than `PatchAccuracy`, which gives nothing to a right
    sequence that starts one place late.

    Call as `PatchAccuracy`. Examples with fewer than two present patches hold no pair and do not
    count. Where all scores are equal, or NaN is among them, tau is not defined: they order nothing
    and count as 0.

    Raises:
        ValueError: As `PatchAccuracy`.

    Example:
    >>> KendallTau()(np.array([[0, 1, 2]]), np.array([[2.0, 1.0, 3.0]]))   # 1/3

    Reference: Kendall, 1945, https://doi.org/10.1093/biomet/33.3.239; `scipy.stats.kendalltau`.
    """

    _fewest = 2
    _of_each = staticmethod(_kendall_tau)

    def __init__(self, name="kendall_tau", dtype=None):
        super().__init__(name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class SpearmanRho(_RankingMetric):
    """Spearman's rho between the order and the scores: 1 right, -1 backwards, chance is 0.

    The correlation of the order with the ranks of the scores, of which equal ones share the average
    of their ranks. A patch far from its place costs more than in `KendallTau`.

    Call as `PatchAccuracy`. Examples with fewer than two present patches do not count. Where all
    scores are equal, or NaN is among them, rho is not defined: they order nothing and count as 0.

    Raises:
        ValueError: As `PatchAccuracy`.

    Example:
    >>> SpearmanRho()(np.array([[0, 1, 2]]), np.array([[2.0, 1.0, 3.0]]))   # 1/2

    Reference: Spearman, 1904, https://doi.org/10.2307/1412159; `scipy.stats.spearmanr`.
    """

    _fewest = 2
    _of_each = staticmethod(_spearman_rho)

    def __init__(self, name="spearman_rho", dtype=None):
        super().__init__(name=name, dtype=dtype)
