"""The noises that perturb scores: draws, and how the difference of two is distributed."""

import math

import keras
from keras import ops

NOISES = ("normal", "gumbel")


def draw(noise, shape, dtype, seed):
    """Standard noise: normal, or Gumbel with location 0 and scale 1."""
    if noise == "normal":
        return keras.random.normal(shape, dtype=dtype, seed=seed)
    uniform = keras.random.uniform(shape, minval=1e-7, maxval=1.0, dtype=dtype, seed=seed)
    return -ops.log(-ops.log(uniform))


def score(noise, draws):
    """Minus the derivative of the logarithm of the density: its mean is zero."""
    return draws if noise == "normal" else 1 - ops.exp(-draws)


def scale(noise, sigma):
    """What margins are divided by for the three functions below."""
    return math.sqrt(2) * sigma if noise == "normal" else sigma


def probability_above(noise, margins):
    """That a score stays above another, at a margin in units of `scale`."""
    if noise == "gumbel":
        return ops.sigmoid(margins)
    return 0.5 * (1 + ops.erf(margins / math.sqrt(2)))


def density(noise, margins):
    """Derivative of `probability_above`."""
    if noise == "gumbel":
        above = ops.sigmoid(margins)
        return above * (1 - above)
    return ops.exp(-0.5 * ops.square(margins)) / math.sqrt(2 * math.pi)


def hinge(noise, margins):
    """Integral of the probability to lie below: a smooth `max(-margins, 0)`, never negative."""
    if noise == "gumbel":
        return ops.softplus(-margins)
    hinge = density(noise, margins) - margins * probability_above(noise, -margins)
    # The difference of two small numbers may come out a rounding error below 0.
    return ops.maximum(hinge, 0.0)
