"""Small data sets of known content, which lie prepared as TFDS leaves them."""

import io
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def write(name, data_dir, splits, names=None):
    """Writes examples, lists by split, and names of labels where TFDS looks for those of `name`."""
    builder = tfds.builder(name, data_dir=data_dir)
    if names:
        builder.info.features["label"].names = names
    pathlib.Path(builder.data_dir).mkdir(parents=True)
    builder.info._metadata = tfds.core.MetadataDict()  # Beam's, of NSynth, needs apache-beam.
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=1000)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()
    return pathlib.Path(builder.data_dir)


def picture(number, height=32, width=32):
    """Noise that follows from the number, uint8 `(height, width, 3)`."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def cifar10(numbers):
    return [{"id": f"i{n}", "image": picture(n), "label": n % 10} for n in numbers]


def stl10(numbers, label=None):
    return [
        {"image": picture(n, 96, 96), "label": n % 10 if label is None else label} for n in numbers
    ]


def imagenet2012(numbers):
    return [
        {"file_name": f"{n}.JPEG", "image": picture(n, 40, 50), "label": n % 7} for n in numbers
    ]


def voc2007(numbers):
    """Example `n` shows the classes of the bits of `n`."""
    return [
        {
            "image": picture(n, 30, 40),
            "image/filename": f"{n}.jpg",
            "labels": [bit for bit in range(20) if n >> bit & 1],
            "labels_no_difficult": [],
            "objects": [],
        }
        for n in numbers
    ]


def jpeg(level, height=24, width=32):
    """A file of a grey gradient about a level."""
    ramp = np.linspace(level - 8, level + 8, width).round().astype("uint8")
    file = io.BytesIO()
    Image.fromarray(np.broadcast_to(ramp[None, :, None], (height, width, 3))).save(
        file, "JPEG", quality=95
    )
    file.seek(0)
    return file


def ucf101(lengths):
    """Clips of so many frames, frame `i` at level `20 + 5 * i`."""
    return [
        {"video": [jpeg(20 + 5 * i) for i in range(length)], "label": n % 101}
        for n, length in enumerate(lengths)
    ]


def speech_commands(sounds):
    return [{"audio": sound, "label": n % 12} for n, sound in enumerate(sounds)]


def tone(pitch, num_samples=64000, rate=16000):
    """A decaying sine of a MIDI pitch, float32."""
    seconds = np.arange(num_samples) / rate
    sine = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * seconds)
    return (0.5 * sine * np.exp(-seconds)).astype("float32")


def notes(instruments, pitches, velocities=(25, 75)):
    """`(name, instrument, pitch, velocity)` of every combination, named as NSynth does."""
    return [
        (f"guitar_acoustic_{i:03d}-{p:03d}-{v:03d}", i, p, v)
        for i in instruments
        for p in pitches
        for v in velocities
    ]


QUALITIES = (
    *("bright", "dark", "distortion", "fast_decay", "long_release"),
    *("multiphonic", "nonlinear_env", "percussive", "reverb", "tempo-synced"),
)


def nsynth(of_notes):
    return [
        {
            "id": name,
            "audio": tone(pitch),
            "pitch": pitch,
            "velocity": velocity,
            "instrument": {"label": instrument, "family": instrument % 11, "source": 0},
            "qualities": dict.fromkeys(QUALITIES, False),
        }
        for name, instrument, pitch, velocity in of_notes
    ]
