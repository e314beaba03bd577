"""What the soft rank and the soft sort share: both are projections onto a permutahedron."""

from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.rows import checked, widened_dtype

REGULARIZATIONS = ("l2", "kl")
SOFTER = "try 1.0, lower it for a harder result"
# Beyond these nothing changes any more, and float32 would know them as 0 and infinity.
HARDEST, SOFTEST = 1e-30, 1e30


def project(projection, scores, strength, regularization, direction, axis, mask):
    """Calls `projection(scores, strength[, mask], **constants)` with what a user gave, checked."""
    strength = _checks.positive_float("strength", strength, SOFTER)
    strength = min(max(strength, HARDEST), SOFTEST)
    _checks.one_of("regularization", regularization, REGULARIZATIONS)
    scores, mask, axis = checked(scores, direction, axis, mask)
    # A tensor, not a constant: one compilation serves all strengths.
    strength = ops.convert_to_tensor(strength, dtype=widened_dtype(scores))
    masks = () if mask is None else (mask,)
    constants = {"regularization": regularization, "direction": direction, "axis": axis}
    return projection(scores, strength, *masks, **constants)
