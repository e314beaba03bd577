"""Work on short rows turned into columns `(n, batch)`, one after the other.

Neighbours in memory are then entries of different rows, and each step one of whole vectors: on a
processor up to three times as fast as along the rows, but the program is long.
"""

from keras import ops

from keras_s2l._compiled import alive, computed_once

FEW = 12


def few(n):
    """Whether rows of length `n`, None if unknown, are better worked on as columns."""
    return n is not None and 0 < n <= FEW


def running(combine, x):
    """`combine(x[0], …, x[i])` at each i."""
    x = computed_once(x, alive(x))
    results = [x[0]]
    for column in range(1, x.shape[0]):
        results.append(combine(results[-1], x[column]))
    return ops.stack(results)


def running_from_the_end(combine, x):
    """`combine(x[i], …, x[n - 1])` at each i."""
    return ops.flip(running(combine, ops.flip(x, axis=0)), axis=0)


def over_earlier(inputs, step, start):
    """The last item of the state that each column reaches as it meets those before it.

    Args:
        inputs: Tensors `(n, batch)`.
        step: `step(distance, own, earlier, *state)` returns the next state; `own` and `earlier` are
            what all inputs hold at some entries and at those that lie so far before them.
        start: Numbers, the first state.
    """
    inputs = [computed_once(x, alive(x)) for x in inputs]
    results = []
    for column in range(inputs[0].shape[0]):
        own = [x[column] for x in inputs]
        state = [ops.full_like(own[0], value) for value in start]
        for distance in range(1, column + 1):
            state = step(distance, own, [x[column - distance] for x in inputs], *state)
        results.append(state[-1])
    results = ops.stack(results)
    return computed_once(results, alive(results))
