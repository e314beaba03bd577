"""Sums over pairs of perturbed scores, whose expectations have closed forms."""

from keras import ops

from keras_s2l._gradients import custom_gradient
from keras_s2l.ranking import noises

TILE = 1 << 22  # Pairs held at a time, when a row has many: 16 MB in float32.


def margins_between(rows, others, scale):
    """`(rows[b, i] - others[b, j]) / scale`, `(batch, n, m)`; ties are 0, also infinite ones."""
    left, right = rows[:, :, None], others[:, None, :]
    infinite_tie = ops.logical_and(left == right, ops.isinf(left))
    # The inner choice keeps their NaN out of the gradient.
    left, right = ops.where(infinite_tie, 0.0, left), ops.where(infinite_tie, 0.0, right)
    return (left - right) / scale


def expected_ranks(rows, sigma, present, noise):
    """Expected ranks of rows `(batch, n)`, 0 the lowest, under noise; see `perturbed_rank`.

    The gradient is written down, so that no table of all pairs is kept for it. It is made of
    differentiable functions: second derivatives are exact too.
    """

    def total(rows, scale, present, term):
        """Sum of `term(margins, start, stop)` over all j that are real, some columns at a time."""
        totals = []
        for start, stop in _tiles(rows):
            value = term(margins_between(rows, rows[:, start:stop], scale), start, stop)
            if present is not None:
                value = ops.where(present[:, None, start:stop], value, 0.0)
            totals.append(ops.sum(value, axis=2))
        return sum(totals)

    @custom_gradient
    def ranks_of(rows, scale, present=None):
        def above(margins, start, stop):
            return noises.probability_above(noise, margins)

        def pullback(upstream):
            if present is not None:
                upstream = ops.where(present, upstream, 0.0)

            def pull(margins, start, stop):
                difference = upstream[:, :, None] - upstream[:, None, start:stop]
                return noises.density(noise, margins) * difference

            gradient = total(rows, scale, present, pull) / scale
            return (gradient if present is None else ops.where(present, gradient, 0.0),)

        # Each score counts itself as half below.
        return total(rows, scale, present, above) - 0.5, pullback

    scale = ops.convert_to_tensor(noises.scale(noise, sigma), dtype=rows.dtype)
    return ranks_of(rows, scale) if present is None else ranks_of(rows, scale, present)


def _tiles(rows):
    n = rows.shape[1]
    if n is None:
        return [(0, None)]
    width = max(1, min(n, TILE // max(n * (rows.shape[0] or 64), 1)))
    return [(start, min(start + width, n)) for start in range(0, max(n, 1), width)]
