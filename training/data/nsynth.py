"""NSynth: its splits, and the folder that its authors publish.

Their train split shares no instrument with valid and test, so which instrument plays can only be
measured within train: `test_notes` are notes of it that `train` lacks.
"""

import functools
import json
import os
import pathlib

import tqdm

from training.data import decoding, published
from training.data.draws import drawn
from training.errors import UserError

SPLITS = {"train": "train", "test_notes": "train", "valid": "valid", "test": "test"}  # Theirs.
HELD_OUT_NOTES = 0.05  # Of the notes of their train split.
FAMILIES = (
    *("bass", "brass", "flute", "guitar", "keyboard", "mallet"),
    *("organ", "reed", "string", "synth_lead", "vocal"),
)
LABELS = {"family": "instrument_family", "instrument": "instrument", "pitch": "pitch"}


def belongs(name, split):
    """Whether a note of the official split that `split` lies in is one of `split`.

    All velocities of an instrument's pitch are on one side: the draw follows from these two.

    Args:
        name: Such as "bass_synthetic_068-049-025": instrument, pitch and velocity.
        split: One of `SPLITS`.
    """
    if SPLITS[split] != "train":
        return True
    note, _, _ = name.rpartition("-")
    return (drawn(note) < HELD_OUT_NOTES) == (split == "test_notes")


def load_folder(folder, split, settings, cache_dir=None):
    """Loads a split of an extracted NSynth; decodes it at its first use.

    Args:
        folder: Path of the folder that holds `nsynth-train`, `nsynth-valid` and `nsynth-test`, each
            with `examples.json` and `audio/NAME.wav`.
        split: One of `SPLITS`.
        settings: `decoding.Settings`.
        cache_dir: As for `prepared`.

    Returns:
        `Examples` of audio, in the order of their names, with the int64 labels "family",
        "instrument" (its number in `examples.json`) and "pitch" (MIDI).

    Raises:
        UserError: If the folder is not as described, a file cannot be read, or too many are
            corrupt.
    """
    folder = pathlib.Path(folder).expanduser() / f"nsynth-{SPLITS[split]}"
    notes = dict(item for item in sorted(_notes(folder).items()) if belongs(item[0], split))
    files = _files(folder / "audio", notes)
    return published.load(
        f"nsynth-{split}",
        "audio",
        _items(folder / "audio", notes, settings),
        len(notes),
        settings,
        cache_dir,
        [(name, labels, files[name]) for name, labels in notes.items()],
        {"family": FAMILIES},
    )


def _notes(folder):
    """The numbers of `LABELS` of each note, by its name."""
    path = folder / "examples.json"
    try:
        notes = json.loads(path.read_text(encoding="utf-8"), object_hook=_numbers)
    except (OSError, ValueError) as error:
        raise _no_nsynth(folder, f"{path}: {error}") from error
    if not isinstance(notes, dict) or not notes:
        raise _no_nsynth(folder, f"{path} holds no notes")
    for name, numbers in notes.items():
        if not isinstance(numbers, list):
            raise _no_nsynth(folder, f"{name} in {path} lacks {', '.join(LABELS.values())}")
    return notes


def _numbers(entry):
    """Of an entry of `examples.json` only what is used, while it is read: memory stays small."""
    if set(LABELS.values()) <= set(entry):
        return [entry[name] for name in LABELS.values()]
    return entry


def _files(folder, notes):
    """State of the file of each note, by its name."""
    try:
        with os.scandir(folder) as entries:
            stats = {entry.name: entry.stat() for entry in entries}
    except OSError as error:
        raise _no_nsynth(folder.parent, error) from error
    lacking = [name for name in notes if f"{name}.wav" not in stats]
    if lacking:
        raise _no_nsynth(
            folder.parent, f"{folder} lacks {len(lacking)} notes, the first is {lacking[0]}.wav"
        )
    files = {name: stats[f"{name}.wav"] for name in notes}
    return {name: decoding.state_of(file) for name, file in files.items()}


def _no_nsynth(folder, why):
    return UserError(
        f"--folder={folder.parent} is no extracted NSynth, which holds nsynth-train, nsynth-valid "
        f"and nsynth-test, each with examples.json and audio/NAME.wav: {why}."
    )


def _items(folder, notes, settings):
    for name, numbers in tqdm.tqdm(notes.items(), "Decoding", unit="note", mininterval=1.0):
        decode = functools.partial(_decode, folder / f"{name}.wav", settings)
        yield published.Item(name, dict(zip(LABELS, numbers)), decode)


def _decode(path, settings):
    try:
        yield from decoding.decode(path, "audio", settings)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Mend that.") from error
