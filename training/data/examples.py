"""One split of a data set, whatever its modality."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Examples:
    """Inputs of one shape, and what is known about them.

    Attributes:
        kind: "audio", "image" or "video".
        inputs: Array or memory map `(examples, ...)`: int16 waveforms `(samples,)`, uint8 images
            `(height, width, channels)` or uint8 clips `(frames, height, width, channels)`.
        labels: Arrays `(examples, ...)` by task; empty if nothing is labelled.
        classes: Names of the classes of a task, where it has names.
        sample_rate: Samples a second of audio; None for others.
        left_out: Why, by name, of what could not be used.
        groups: Which recording each example is a window of, integers `(examples,)` that never fall;
            None where each example is one of its own.
    """

    kind: str
    inputs: np.ndarray
    labels: dict = dataclasses.field(default_factory=dict)
    classes: dict = dataclasses.field(default_factory=dict)
    sample_rate: int | None = None
    left_out: dict = dataclasses.field(default_factory=dict)
    groups: np.ndarray | None = None

    def __len__(self):
        return len(self.inputs)

    def starts(self):
        """Where each recording begins: integers `(recordings,)`."""
        if self.groups is None:
            return np.arange(len(self))
        return np.flatnonzero(np.diff(self.groups, prepend=self.groups[0] - 1))

    def batch(self, index):
        """Inputs as models take them, float32: waveforms in [-1, 1], pictures in [0, 1]."""
        return as_inputs(self.inputs[index])


def as_inputs(stored):
    """float32: int16 waveforms in [-1, 1], uint8 pictures in [0, 1], floats as they are.

    Args:
        stored: An array or a tensor.
    """
    full_scale = {"int16": 32768, "uint8": 255}.get(np.dtype(stored.dtype.name).name, 1)
    if isinstance(stored, np.ndarray):
        return stored.astype("float32") / np.float32(full_scale)
    return tf.cast(stored, tf.float32) / full_scale
