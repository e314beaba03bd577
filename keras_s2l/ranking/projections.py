"""What the soft rank and the soft sort share: both are projections onto a permutahedron."""

from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.rows import checked, widened_dtype

REGULARIZATIONS = ("l2", "kl")
SOFTER = "try 1.0, lower it for a harder result"
HARDEST = 1e-30  # Results are hard at any strength as low as this; less would be 0 in float32.


def project(projection, scores, strength, regularization, direction, axis, mask):
    """Calls `projection(scores, strength[, mask], **constants)` with what a user gave, checked."""
    strength = max(_checks.positive_float("strength", strength, SOFTER), HARDEST)
    _checks.one_of("regularization", regularization, REGULARIZATIONS)
    scores, mask, axis = checked(scores, direction, axis, mask)
    # A tensor, not a constant: one compilation serves all strengths.
    strength = ops.convert_to_tensor(strength, dtype=widened_dtype(scores))
    masks = () if mask is None else (mask,)
    constants = {"regularization": regularization, "direction": direction, "axis": axis}
    return projection(scores, strength, *masks, **constants)
