"""Labelled recordings in memory, by the name of their data set."""

import dataclasses

import numpy as np

from training.data import DATA_SETS, notes
from training.errors import UserError

SILENCE = 1e-4  # A recording whose peak lies below has nothing to learn from.


@dataclasses.dataclass(frozen=True)
class Recordings:
    """One split of a data set.

    Attributes:
        audio: Waveforms `(recordings, samples)`, int16 or float32 in [-1, 1].
        labels: Arrays `(recordings,)` by task.
        sample_rate: Samples a second.
        num_silent: Recordings that were left out because they are silent.
    """

    audio: np.ndarray
    labels: dict
    sample_rate: int
    num_silent: int = 0


def prepare(config):
    """Renders or reads the data set that `config` names, unless it lies prepared.

    Args:
        config: A config with `data`, `data_dir` and `soundfont`.

    Returns:
        Its TFDS builder.

    Raises:
        UserError: If the data set is unknown, or cannot be had.
    """
    if config.data not in DATA_SETS:
        raise UserError(f"Unknown --data={config.data}. Known data sets: {', '.join(DATA_SETS)}.")
    try:
        builder = notes.notes_builder(config.soundfont or None, config.data_dir or None)
        builder.download_and_prepare()
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return builder


def load(config, split):
    """Loads a split of the data set that `config` names, prepared at first use.

    Args:
        config: A config with `data`, `data_dir` and `soundfont`.
        split: For `notes`: `"train"`, `"test_notes"` or `"test_instruments"`.

    Raises:
        UserError: If the data set is unknown, cannot be had, or has nothing to use in the split.
    """
    builder = prepare(config)
    if not builder.info.splits[split].num_examples:
        raise UserError(f"The split {split} of --data={config.data} is empty: choose another bank.")
    columns = builder.as_dataset(split=split, batch_size=-1)
    columns = {name: column.numpy() for name, column in columns.items()}
    labels = {task: columns[task] for task in ("family", "instrument", "pitch")}
    return usable(Recordings(columns["audio"], labels, notes.SAMPLE_RATE), f"{config.data}/{split}")


def usable(recordings, name):
    """Leaves out silent recordings; refuses numbers that are not finite, and a set left empty.

    Args:
        recordings: `Recordings`.
        name: What to call them in an error.

    Raises:
        UserError: If a recording holds a NaN or an infinity, or no recording can be used.
    """
    audio = recordings.audio
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
        return recordings
    return Recordings(
        audio[loud],
        {task: labels[loud] for task, labels in recordings.labels.items()},
        recordings.sample_rate,
        int((~loud).sum()),
    )


def waveforms(audio):
    """float32 in [-1, 1] from int16 or float samples."""
    return audio.astype("float32") / 32768 if audio.dtype == np.int16 else audio.astype("float32")
