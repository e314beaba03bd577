"""Waveforms that can be learned from, and those that cannot."""

import dataclasses

import numpy as np

from training.errors import UserError

SILENCE = 1e-4  # A recording whose peak lies below has nothing to learn from.


def usable(examples, name):
    """Leaves out silent recordings; refuses numbers that are not finite, and a set left empty.

    Args:
        examples: `Examples` of audio, int16 or float32 in [-1, 1].
        name: What to call them in an error.

    Raises:
        UserError: If a recording holds a NaN or an infinity, or no recording can be used.
    """
    audio = examples.inputs
    if len(audio) == 0:
        raise UserError(f"{name} holds no recordings.")
    if np.issubdtype(audio.dtype, np.floating):
        bad = np.flatnonzero(~np.isfinite(audio).all(axis=1))
        if len(bad):
            raise UserError(
                f"{name}: {len(bad)} of {len(audio)} recordings hold NaN or infinity, the first is "
                f"number {bad[0]}. Mend or remove them: training on them would give NaN weights."
            )
    full_scale = 32768 if audio.dtype == np.int16 else 1.0
    peaks = np.maximum(audio.max(axis=1).astype("float32"), -audio.min(axis=1).astype("float32"))
    loud = peaks / full_scale >= SILENCE
    if not loud.any():
        raise UserError(f"{name}: all {len(audio)} recordings are silent (peak below {SILENCE}).")
    if loud.all():
        return examples
    silent = {f"recording {number}": "silent" for number in np.flatnonzero(~loud)}
    return dataclasses.replace(
        examples,
        inputs=audio[loud],
        labels={task: labels[loud] for task, labels in examples.labels.items()},
        left_out={**examples.left_out, **silent},
    )
