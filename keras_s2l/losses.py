"""Ranking losses, called as `loss(order, scores)`; `order == -1` marks an absent slot."""

import contextlib

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._gradients import custom_gradient
from keras_s2l._orders import are_rankings, order_and_mask
from keras_s2l._seeds import ReplicaSeedGenerator
from keras_s2l.permutations import as_permutations
from keras_s2l.ranking import noises, pairs
from keras_s2l.ranking.hard_rank import hard_rank
from keras_s2l.ranking.projections import REGULARIZATIONS
from keras_s2l.ranking.rows import checked_strength, widened
from keras_s2l.ranking.soft_rank import soft_rank


def _labels_and_scores(order, scores):
    """Order in the dtype of the scores, mask, and scores in float32 or better, 0 where absent."""
    scores = _checks.floating_tensor("scores", scores)
    order, present = order_and_mask(order, scores)
    scores = ops.where(present, widened(scores), 0.0)
    return ops.cast(order, scores.dtype), present, scores


def _where_right(right, values, dtype):
    """The losses, NaN and without a gradient where the label of a row is not `right`."""
    # Computed: a NaN that stands in the graph would be found by tools that look for NaN.
    undefined = ops.sqrt(ops.cast(right, values.dtype) - 1)
    return ops.cast(ops.where(right, values, undefined), dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class FenchelYoungRankLoss(keras.losses.Loss):
    """Fenchel–Young loss of the perturbed rank.

    For each pair of patches of which `i` belongs after `j`, with margin `m = scores_i - scores_j`
    and `s = √2 sigma`, it adds `s φ(m/s) - m Φ(-m/s)`: a hinge smoothed by normal noise; with
    Gumbel noise `sigma log(1 + exp(-m/sigma))`, which is RankNet. It is never negative, goes to 0
    as a right order becomes confident, is convex in the scores, and its gradient is
    `perturbed_rank(scores) - order`.

    Args:
        sigma: Positive float, the scale of the noise.
        noise: "normal" or "gumbel".
        num_samples: None for the closed form, which has no variance, or the number of draws of the
            paper's estimator, whose value and gradient have the same expectation.
        seed: Integer, of the draws, other ones at each call and on each replica; None for a random
            one.
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example,
            the sum over its pairs.

    Call with `order` `(batch, n)`, numbers of any dtype, each row a permutation of `0 … n - 1`, -1
    in slots that are absent, and `scores` of the same shape; both are cast to the `dtype` of the
    loss, float32 unless it is given, which must hold `n`. What is not a permutation is an error
    where the values can be seen; inside a compiled step, where they cannot, the loss of its row is
    NaN, whatever its weight, and trains nothing. To leave a row out give -1 in all its slots.

    Raises:
        ValueError: If an argument has another value, the shapes differ, or a row of `order` is seen
            not to be a permutation.

    Example:
    >>> loss = FenchelYoungRankLoss()
    >>> loss(np.array([[0, 1, 2]]), np.array([[-9.0, 0.0, 9.0]]))   # about 0
    >>> loss(np.array([[0, 1, 2]]), np.array([[9.0, 0.0, -9.0]]))   # about 36

    Reference: Berthet et al., 2020, section 4, https://arxiv.org/abs/2002.08676; the paper's
    "perturbed F-Y". The closed form for ranks is ours; Burges et al., Learning to Rank using
    Gradient Descent, 2005, is RankNet.
    """

    def __init__(
        self,
        sigma=1.0,
        noise="normal",
        num_samples=None,
        seed=None,
        reduction="sum_over_batch_size",
        name="fenchel_young_rank_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.sigma = checked_strength("sigma", sigma)
        self.noise = _checks.one_of("noise", noise, noises.NOISES)
        self.num_samples, self.seed = num_samples, seed
        self._draws = None
        if num_samples is not None:
            _checks.positive_int("num_samples", num_samples, "or None for the closed form")
            self.seed_generator = ReplicaSeedGenerator(seed)

    @contextlib.contextmanager
    def using(self, draws):
        """Within it the loss takes these draws: for an input pipeline that draws them itself.

        Args:
            draws: Floating tensor `(batch, num_samples, n)` of noise of scale 1.

        Raises:
            ValueError: If the loss is in closed form, or takes another number of samples.
        """
        expected = keras.KerasTensor((None, self.num_samples, None))
        if self.num_samples is None or not _checks.same_shape(draws, expected):
            raise ValueError(
                "`draws` must have shape (batch, num_samples, n), for a loss that samples. "
                f"Received: draws of shape {tuple(draws.shape)}, num_samples={self.num_samples}"
            )
        before, self._draws = self._draws, draws
        try:
            yield
        finally:
            self._draws = before

    def call(self, order, scores):
        dtype = _checks.floating_tensor("scores", scores).dtype
        ranks, present, scores = _labels_and_scores(order, scores)
        value = self._sampled if self.num_samples else self._closed_form
        return _where_right(are_rankings(order), value(ranks, present, scores), dtype)

    def _closed_form(self, order, present, scores):
        scale = noises.scale(self.noise, self.sigma)

        @custom_gradient
        def value(scores, order, present):
            # Infinite margins would give inf * 0.
            margins = ops.clip(pairs.margins_between(scores, scores, scale), -1e37, 1e37)
            after = ops.logical_and(order[:, :, None] > order[:, None, :], present[:, None, :])
            hinges = ops.where(after, noises.hinge(self.noise, margins), 0.0)

            def pullback(upstream):
                ranks = pairs.expected_ranks(scores, self.sigma, present, self.noise)
                return (upstream[:, None] * ops.where(present, ranks - order, 0.0),)

            return scale * ops.sum(hinges, axis=(1, 2)), pullback

        return value(scores, order, present)

    def _sampled(self, order, present, scores):
        if self._draws is None:
            shape = (self.num_samples, *ops.shape(scores))
            draws = noises.draw(self.noise, shape, scores.dtype, self.seed_generator)
        else:
            draws = ops.cast(ops.swapaxes(self._draws, 0, 1), scores.dtype)
        perturbed = scores + self.sigma * draws
        ranks = hard_rank(perturbed, mask=ops.broadcast_to(present, ops.shape(draws)))
        # The right order earns no more than the best one, with the same noise: never negative.
        surplus = ops.stop_gradient(ops.cast(ranks, scores.dtype) - order)
        return ops.mean(ops.sum(ops.where(present, perturbed * surplus, 0.0), axis=2), axis=0)

    def get_config(self):
        own = ("sigma", "noise", "num_samples", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="keras_s2l")
class SoftRankLoss(keras.losses.Loss):
    """Half the squared distance between the soft ranks of the scores and the order.

    Args:
        strength: Positive float, of the soft rank.
        regularization: "l2" or "kl", of the soft rank.
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example.

    Call with `order` and `scores` as for `FenchelYoungRankLoss`.

    Raises:
        ValueError: If an argument has another value, the shapes differ, or a row of `order` is seen
            not to be a permutation.

    Example:
    >>> SoftRankLoss()(np.array([[0, 1, 2]]), np.array([[1.0, 2.0, 9.0]]))   # 0.0

    Reference: Blondel et al., 2020, section 6, https://arxiv.org/abs/2002.08871; the paper's
    "fast soft ranking".
    """

    def __init__(
        self,
        strength=1.0,
        regularization="l2",
        reduction="sum_over_batch_size",
        name="soft_rank_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.strength = checked_strength("strength", strength)
        self.regularization = _checks.one_of("regularization", regularization, REGULARIZATIONS)

    def call(self, order, scores):
        dtype = _checks.floating_tensor("scores", scores).dtype
        ranks, present, scores = _labels_and_scores(order, scores)
        # Absent slots have rank -1, as in the order: they add nothing.
        soft = soft_rank(scores, self.strength, self.regularization, mask=present)
        value = 0.5 * ops.sum(ops.square(soft - ranks), axis=1)
        return _where_right(are_rankings(order), value, dtype)

    def get_config(self):
        own = ("strength", "regularization")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="keras_s2l")
class ScoreMeanSquaredError(keras.losses.Loss):
    """Mean squared difference between the scores themselves and the order: no ranking.

    The baseline that shows what ranking is worth: scores must be the ranks, not only be ordered as
    they are.

    Args:
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example,
            the mean over its slots.

    Call with `order` and `scores` as for `FenchelYoungRankLoss`.

    Raises:
        ValueError: If the shapes differ, or a row of `order` is seen not to be a permutation.

    Example:
    >>> ScoreMeanSquaredError()(np.array([[0, 1, 2]]), np.array([[0.0, 1.0, 5.0]]))   # 3.0

    Reference: the paper's row "MSE".
    """

    def __init__(self, reduction="sum_over_batch_size", name="score_mean_squared_error", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, order, scores):
        dtype = _checks.floating_tensor("scores", scores).dtype
        ranks, present, scores = _labels_and_scores(order, scores)
        squares = ops.where(present, ops.square(scores - ranks), 0.0)
        count = ops.sum(ops.cast(present, scores.dtype), axis=1)
        value = ops.sum(squares, axis=1) / ops.maximum(count, 1.0)
        return _where_right(are_rankings(order), value, dtype)


@keras.saving.register_keras_serializable(package="keras_s2l")
class PermutationCrossEntropy(keras.losses.Loss):
    """Cross-entropy over a fixed set of permutations: which of them was applied?

    The baseline of Noroozi and Favaro: each permutation of the set is a class.

    Args:
        permutations: Integers `(num_permutations, n)`, each row another permutation of
            `0 … n - 1`.
        reduction, name: As in `keras.losses.Loss`; without reduction one value for each example.

    Call with `order` `(batch, n)`, each row one of the permutations (another one gives a NaN, for
    it has no class), and `logits` `(batch, num_permutations)`.

    Raises:
        ValueError: If `permutations` are not distinct permutations, or the shapes do not fit.

    Example:
    >>> loss = PermutationCrossEntropy([[0, 1], [1, 0]])
    >>> loss(np.array([[1, 0]]), np.array([[0.0, 0.0]]))   # log 2, 0.693

    Reference: Noroozi and Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw
    Puzzles, 2016, https://arxiv.org/abs/1603.09246; the paper's "fixed permutations".
    """

    def __init__(
        self,
        permutations,
        reduction="sum_over_batch_size",
        name="permutation_cross_entropy",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.permutations = as_permutations(permutations)

    def call(self, order, logits):
        logits = _checks.floating_tensor("logits", logits)
        order = ops.cast(ops.convert_to_tensor(order), "int32")
        num_permutations, n = self.permutations.shape
        batch = order.shape[0] if len(order.shape) == 2 else None
        expected = [keras.KerasTensor(shape) for shape in ((batch, n), (batch, num_permutations))]
        if not all(map(_checks.same_shape, (order, logits), expected)):
            raise ValueError(
                f"`order` must have shape (batch, {n}) and `logits` (batch, {num_permutations}), "
                f"as the set of permutations has. Received: order of shape {tuple(order.shape)}, "
                f"logits of shape {tuple(logits.shape)}"
            )
        same = ops.all(order[:, None, :] == self.permutations[None], axis=2)
        log_probabilities = ops.log_softmax(widened(logits), axis=1)
        value = -ops.sum(ops.where(same, log_probabilities, 0.0), axis=1)
        return _where_right(ops.any(same, axis=1), value, logits.dtype)

    def get_config(self):
        return {**super().get_config(), "permutations": self.permutations.tolist()}
