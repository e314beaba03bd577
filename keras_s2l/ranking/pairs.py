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
    scale = noises.scale(noise, sigma)

    def total(rows, term):
        """Sum of `term(margins, start, stop)` over all j, some columns at a time."""
        return sum(
            ops.sum(term(margins_between(rows, rows[:, start:stop], scale), start, stop), axis=2)
            for start, stop in _tiles(rows)
        )

    def only_real(x, start, stop):
        return x if present is None else ops.where(present[:, None, start:stop], x, 0.0)

    @custom_gradient
    def ranks_of(rows):
        def above(margins, start, stop):
            return only_real(noises.probability_above(noise, margins), start, stop)

        def pullback(upstream):
            if present is not None:
                upstream = ops.where(present, upstream, 0.0)

            def pull(margins, start, stop):
                difference = upstream[:, :, None] - upstream[:, None, start:stop]
                slope = only_real(noises.density(noise, margins), start, stop)
                return slope * difference

            gradient = total(rows, pull) / scale
            return (gradient if present is None else ops.where(present, gradient, 0.0),)

        # Each score counts itself as half below.
        return total(rows, above) - 0.5, pullback

    return ranks_of(rows)


def _tiles(rows):
    n = rows.shape[1]
    if n is None:
        return [(0, None)]
    width = max(1, min(n, TILE // (n * (rows.shape[0] or 64))))
    return [(start, min(start + width, n)) for start in range(0, n, width)]
