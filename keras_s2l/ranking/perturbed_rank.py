"""The perturbed rank: the expected rank when noise is added to the scores."""

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._compiled import compiled
from keras_s2l._gradients import custom_gradient
from keras_s2l._seeds import ReplicaSeedGenerator, SavedDraws
from keras_s2l.ranking import noises, pairs
from keras_s2l.ranking.hard_rank import hard_rank
from keras_s2l.ranking.rows import (
    DIRECTIONS,
    checked,
    checked_strength,
    ranks_from_rows,
    scores_to_rows,
    widened_dtype,
    within_float32,
)


def perturbed_rank(
    scores,
    sigma=1.0,
    noise="normal",
    num_samples=None,
    seed=None,
    direction="ascending",
    axis=-1,
    mask=None,
):
    """Expected rank of each score within its row when noise is added to all of them.

    A rank counts the scores below, so its expectation is a sum over pairs, and exact: with normal
    noise `E[rank_i] = Σ_{j≠i} Φ((scores_i - scores_j) / (√2 sigma))`, Φ the normal distribution
    function; with Gumbel noise `Σ_{j≠i} logistic((scores_i - scores_j) / sigma)`. Without
    `num_samples` this closed form is computed: it has no variance, and any derivative. With it,
    the mean over so many draws is, as in the paper, with the gradient's estimate from the draws.

    Args:
        scores: Floating tensor of rank 1 or more. float16 and bfloat16 are computed in float32.
        sigma: Positive float, the scale of the noise. Larger is softer.
        noise: "normal" or "gumbel".
        num_samples: None for the closed form, or the number of draws.
        seed: Of the draws. An integer gives the same noise at each call, a
            `keras.random.SeedGenerator` other noise each time, None that of Keras' own generator.
        direction: "ascending": the lowest score has rank 0; "descending": the highest.
        axis: Integer, the axis along which scores are ranked.
        mask: Booleans of the shape of `scores`, true where a slot is real; None if all are. Absent
            slots take no part, have rank -1 and no gradient.

    Returns:
        Ranks in `[0, n - 1]`, of the shape and dtype of `scores`. Each row of m real slots sums to
        `m * (m - 1) / 2`; a row with a NaN is NaN.

    Raises:
        ValueError: If `scores` is not floating, `sigma` or `num_samples` is not positive, `noise`
            or `direction` has another value, `axis` is no axis of `scores`, or `mask` is not
            boolean and of its shape.

    Example:
    >>> perturbed_rank(np.array([[5.0, 1.0, 2.0]]), sigma=1.0)   # about [[1.98, 0.24, 0.78]]

    Reference: Berthet et al., Learning with Differentiable Perturbed Optimizers, 2020, section 2
    and proposition 3.1, https://arxiv.org/abs/2002.08676; the closed form for ranks is ours.
    """
    sigma = within_float32(checked_strength("sigma", sigma))
    _checks.one_of("noise", noise, noises.NOISES)
    scores, mask, axis = checked(scores, direction, axis, mask)
    # A tensor, not a constant: one compilation serves all scales.
    sigma = ops.convert_to_tensor(sigma, dtype=widened_dtype(scores))
    if num_samples is None:
        masks = () if mask is None else (mask,)
        return _closed_form(scores, sigma, *masks, noise=noise, direction=direction, axis=axis)
    _checks.positive_int("num_samples", num_samples, "1 suffices to train, 100 to estimate ranks")
    values, present, undefined = scores_to_rows(scores, mask, direction, axis)
    draws = noises.draw(noise, (num_samples, *ops.shape(values)), values.dtype, seed)
    ranks = _sampled_ranks(values, sigma, present, draws, noise)
    return ranks_from_rows(ranks, present, undefined, scores, axis)


@compiled
def _closed_form(scores, sigma, mask=None, *, noise, direction, axis):
    values, present, undefined = scores_to_rows(scores, mask, direction, axis)
    ranks = pairs.expected_ranks(values, sigma, present, noise)
    return ranks_from_rows(ranks, present, undefined, scores, axis)


def _sampled_ranks(values, sigma, present, draws, noise):
    """Mean hard rank of rows `(batch, n)` under `draws` `(samples, batch, n)`."""

    @custom_gradient
    def mean_ranks(values, sigma, draws, present=None):
        mask = None if present is None else ops.broadcast_to(present, ops.shape(draws))
        ranks = ops.cast(hard_rank(values + sigma * draws, mask=mask), values.dtype)

        def pullback(upstream):
            # Any constant may be subtracted from the ranks: the noise's score has mean zero. The
            # undisturbed ranks leave the least variance.
            centre = ops.cast(hard_rank(values, mask=present), values.dtype)
            weight = ops.sum(upstream * (ranks - centre), axis=2, keepdims=True)
            slopes = weight * noises.score(noise, draws)
            if present is not None:
                slopes = ops.where(present, slopes, 0.0)
            return (ops.mean(slopes, axis=0) / sigma,)

        return ops.mean(ranks, axis=0), pullback

    tensors = (values, sigma, draws)
    return mean_ranks(*tensors) if present is None else mean_ranks(*tensors, present)


@keras.saving.register_keras_serializable(package="keras_s2l")
class PerturbedRank(SavedDraws, keras.layers.Layer):
    """Replaces each score by its expected rank within its row under noise.

    Args:
        sigma: Positive float, the scale of the noise. Larger is softer.
        noise: "normal" or "gumbel".
        num_samples: None for the closed form, or the number of draws, other ones at each call and
            on each replica.
        seed: Integer, of the draws; None for a random one.
        direction: "ascending": the lowest score has rank 0; "descending": the highest.
        axis: Integer, the axis along which scores are ranked, counted with the batch.

    Call with scores of any rank and, if slots are absent, `mask`: booleans of their shape.

    Input shape: `(batch, n)` scores, or any other. Output shape: the same, in `[0, n - 1]`.

    Raises:
        ValueError: If an argument has another value.

    Example:
    >>> PerturbedRank(sigma=1.0)(np.array([[5.0, 1.0, 2.0]]))   # about [[1.98, 0.24, 0.78]]

    Reference: Berthet et al., 2020, https://arxiv.org/abs/2002.08676
    """

    def __init__(
        self,
        sigma=1.0,
        noise="normal",
        num_samples=None,
        seed=None,
        direction="ascending",
        axis=-1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.sigma = checked_strength("sigma", sigma)
        self.noise = _checks.one_of("noise", noise, noises.NOISES)
        self.num_samples = num_samples
        if num_samples is not None:
            _checks.positive_int("num_samples", num_samples, "or None for the closed form")
        self.seed = seed
        self.direction = _checks.one_of("direction", direction, DIRECTIONS)
        self.axis = axis
        self.seed_generator = None if num_samples is None else ReplicaSeedGenerator(seed)

    def call(self, scores, mask=None):
        settings = (self.sigma, self.noise, self.num_samples, self.seed_generator)
        return perturbed_rank(scores, *settings, self.direction, self.axis, mask)

    def compute_mask(self, scores, mask=None):
        return None  # It has been heeded; losses would multiply their values by it.

    def compute_output_shape(self, scores_shape):
        return scores_shape

    def get_config(self):
        own = ("sigma", "noise", "num_samples", "seed", "direction", "axis")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
