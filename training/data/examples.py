"""One split of a data set, whatever its modality."""

import dataclasses

import numpy as np

KINDS = ("audio", "image", "video")


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
    """

    kind: str
    inputs: np.ndarray
    labels: dict = dataclasses.field(default_factory=dict)
    classes: dict = dataclasses.field(default_factory=dict)
    sample_rate: int | None = None
    left_out: dict = dataclasses.field(default_factory=dict)

    def __len__(self):
        return len(self.inputs)
