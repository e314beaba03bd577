"""Isotonic regression of short rows by the min-max formula, all entries at once.

Of a row that ends at some entry, the last level is the lowest mean of a stretch that ends there. An
entry that is added pulls up to that mean all levels below it. So the level of an entry is the
highest of the lowest means that end at it or later.
"""

import math

from keras import ops

from keras_s2l._compiled import alive, computed_once
from keras_s2l.ranking import columns
from keras_s2l.ranking.scans import extended, running_from_the_end, starts_of


def pool_short(rows):
    """Levels and starts of `isotonic.Rows`, as of `isotonic.pool`; work grows with n squared."""
    kl = rows.regularization == "kl"
    inputs, outside, step, start = _kl_means(rows) if kl else _l2_means(rows)
    exponential = kl and math.isfinite(rows.log_range)
    if columns.few(rows.length):
        inputs = [ops.transpose(x) for x in inputs]
        lowest = columns.over_earlier(inputs, step, start)
        lowest = ops.log(lowest) if exponential else lowest
        levels = columns.running_from_the_end(ops.maximum, ops.transpose(rows.values) + lowest)
        opens = rows.falls(levels[:-1], levels[1:])
        places = ops.arange(1, rows.length, dtype="int32")[:, None]
        starts = ops.concatenate([ops.zeros_like(levels[:1], "int32"), ops.where(opens, places, 0)])
        return ops.transpose(levels), ops.transpose(columns.running(ops.maximum, starts))
    over_earlier = _over_earlier if rows.length is not None else _over_earlier_of_unknown_length
    lowest = over_earlier(inputs, outside, step, start)
    lowest = computed_once(ops.log(lowest) if exponential else lowest, alive(rows.values))
    levels = running_from_the_end(ops.maximum, rows.values + lowest, -math.inf)
    levels = computed_once(levels, alive(rows.values))
    return levels, starts_of(rows.falls(levels[:, :-1], levels[:, 1:]))


def _l2_means(rows):
    """Inputs, what they hold before the first entry, step and start of a loop over distances.

    Its last state ends with the lowest mean of a stretch that ends at each entry, less the entry.
    """

    def step(distance, own, earlier, total, lowest):
        total = total + (earlier[0] - own[0])
        return total, ops.minimum(lowest, total * (1 / (distance + 1)))

    return [rows.values], [math.inf], step, (0.0, 0.0)


def _kl_means(rows):
    """The same for "kl"; where the denominators lie close, the exponential of that mean."""
    close = math.isfinite(rows.log_range)  # No exponential of a stretch over- or underflows.

    # Sums in units of their first and largest term, that one in units of the entry.
    def step(distance, own, earlier, above, below, first, lowest):
        fall_above, fall_below, climb = earlier
        above, below = 1 + fall_above * above, 1 + fall_below * below
        first = first * climb if close else first + climb
        mean = first * (above / below) if close else first + ops.log(above / below)
        return above, below, first, ops.minimum(lowest, mean)

    def padded(x):
        return ops.pad(x, [(0, 0), (0, 1)])

    def fall(x):  # Of descending rows.
        return padded(ops.exp(x[:, 1:] - x[:, :-1]))

    climbs = rows.values[:, :-1] - rows.values[:, 1:]
    climbs = padded(ops.exp(ops.clip(climbs, -80.0, 80.0)) if close else climbs)
    inputs = [fall(rows.numerators), fall(rows.denominators), climbs]
    start = (1.0, 1.0, 1.0, 1.0) if close else (1.0, 1.0, 0.0, 0.0)
    return inputs, [0.0, 0.0, math.inf], step, start


def _over_earlier(inputs, outside, step, start):
    """As `columns.over_earlier`, of rows `(batch, n)`."""
    n = inputs[0].shape[1]
    wider = [extended(x, n, 0, value) for x, value in zip(inputs, outside)]
    wider = [computed_once(x, alive(x)) for x in wider]
    state = [ops.full_like(inputs[0], value) for value in start]
    for distance in range(1, n):
        earlier = [x[:, n - distance : 2 * n - distance] for x in wider]
        state = step(distance, inputs, earlier, *state)
    return state[-1]


def _over_earlier_of_unknown_length(inputs, outside, step, start):
    n = ops.shape(inputs[0])[1]
    first = ops.arange(n, dtype="int32") == 0

    def meet(distance, earlier, state):
        earlier = [ops.roll(x, 1, axis=1) for x in earlier]
        earlier = [ops.where(first, value, x) for x, value in zip(earlier, outside)]
        state = step(ops.cast(distance, inputs[0].dtype), inputs, earlier, *state)
        return distance + 1, earlier, state

    state = tuple(ops.full_like(inputs[0], value) for value in start)
    state = (1, list(inputs), state)
    return ops.while_loop(lambda distance, *_: distance < n, meet, state)[-1][-1]
