"""What the soft rank and the soft sort share: both are projections onto a permutahedron."""

from keras import ops

from keras_s2l import _checks
from keras_s2l.ranking.rows import checked, checked_strength, widened_dtype, within_float32

REGULARIZATIONS = ("l2", "kl")


def project(projection, scores, strength, regularization, direction, axis, mask):
    """Calls `projection(scores, strength[, mask], **constants)` with what a user gave, checked."""
    strength = within_float32(checked_strength("strength", strength))
    _checks.one_of("regularization", regularization, REGULARIZATIONS)
    scores, mask, axis = checked(scores, direction, axis, mask)
    # A tensor, not a constant: one compilation serves all strengths.
    strength = ops.convert_to_tensor(strength, dtype=widened_dtype(scores))
    masks = () if mask is None else (mask,)
    constants = {"regularization": regularization, "direction": direction, "axis": axis}
    return projection(scores, strength, *masks, **constants)
