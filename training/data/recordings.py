"""Recordings and their windows, and recordings that cannot be learned from."""

import dataclasses
import itertools

import numpy as np

from training.errors import UserError

SILENCE = 1e-4  # A recording that stays this close to its mean has nothing to learn from.


def loudness(waveforms):
    """The largest deviation of each row from its mean: `(examples, samples)` to `(examples,)`.

    Not the peak: many recorders put silence off zero.
    """
    means = waveforms.mean(axis=1, dtype="float64")
    return np.maximum(waveforms.max(axis=1) - means, means - waveforms.min(axis=1))


def usable(examples, name):
    """Leaves out silent recordings; refuses a set left empty.

    Args:
        examples: `Examples` of audio.
        name: What to call them in an error.

    Raises:
        UserError: If no recording can be used.
    """
    audio = examples.inputs
    if len(audio) == 0:
        raise UserError(f"{name} holds no recordings.")
    loud = loudness(audio) / 32768 >= SILENCE
    if not loud.any():
        raise UserError(
            f"{name}: all {len(audio)} recordings are silent (below {SILENCE} of full scale)."
        )
    if loud.all():
        return examples
    silent = {f"recording {number}": "silent" for number in np.flatnonzero(~loud)}
    return dataclasses.replace(
        examples,
        inputs=audio[loud],
        labels={task: labels[loud] for task, labels in examples.labels.items()},
        left_out={**examples.left_out, **silent},
    )


def runs(names):
    """Numbers the runs of equal names: those of `a, a, b` are 0, 0, 1.

    Args:
        names: List of strings, one for each window.

    Returns:
        Integers `(windows,)`.
    """
    # Not as an array of strings: all would be as wide as the longest, GiBs for a million windows.
    counts = [sum(1 for _ in run) for _, run in itertools.groupby(names)]
    return np.repeat(np.arange(len(counts)), counts)


def pooled(windows, starts):
    """Means over the windows of each recording.

    Args:
        windows: Array `(windows, ...)`.
        starts: Where each recording begins, integers `(recordings,)`.

    Returns:
        `(recordings, ...)`.
    """
    if len(starts) == len(windows):
        return windows
    counts = np.diff(starts, append=len(windows))
    sums = np.add.reduceat(windows, starts)
    return sums / counts.reshape(-1, *[1] * (windows.ndim - 1)).astype(sums.dtype)


def windows_of(starts, num_windows, chosen):
    """The windows of some recordings.

    Args:
        starts: Where each recording begins, integers `(recordings,)`.
        num_windows: Of all recordings.
        chosen: Numbers of recordings.

    Returns:
        Numbers of their windows, and where each recording begins among these.
    """
    ends = np.append(starts[1:], num_windows)
    parts = [np.arange(starts[number], ends[number]) for number in chosen]
    counts = [len(part) for part in parts]
    return np.concatenate(parts), np.cumsum([0, *counts[:-1]])
