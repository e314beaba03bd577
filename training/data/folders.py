"""A folder of the user's own sounds, pictures or clips as a data set."""

import collections
import contextlib
import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import tqdm

from training.data import decoding, folder_files, labels_csv, recordings
from training.data.examples import Examples
from training.data.prepared import Prepared, prepared
from training.errors import UserError

MOST_NAMED = 10  # Classes in a warning.


def load(folder, split, settings, cache_dir=None):
    """Loads a split of a folder of files, all of one kind; decodes it at its first use.

    The classes are the folder's subfolders; or they stand in its `labels.csv`, with the columns
    `path` and `label`, and, if wanted, `split` ("train" or "test") and `group`. What lies beside
    the subfolders, or is not in `labels.csv`, has no label. Where no split is given a fifth of the
    files is for testing, drawn by their names, labelled or not; files of a group stay together. So
    files that `labels.csv` labels after pre-training stay on their side; a file that is moved into
    a subfolder has another name, and is drawn anew.

    A sound gives an example for each window, a picture or a clip gives one: `decoding.decode` says
    how. All files of a side are decoded, once; the labelled ones are chosen from these, so labels
    may change without decoding again.

    Args:
        folder: Path of the folder; hidden files, and suffixes not in `decoding.SUFFIXES`, are
            ignored.
        split: "unlabelled" and "held_out": all files to learn from and all to test on, labelled or
            not. "train" and "test": the labelled ones of these, or all if there is no label at all.
        settings: `decoding.Settings`.
        cache_dir: As for `prepared`.

    Returns:
        `Examples`, in the order of their files' names, for "train" and "test" with the int64 labels
        "label" unless there are none; for sounds the `groups` are the files. The inputs are a
        memory map, but where some files lack a label the labelled ones are copied into memory. Its
        `left_out` names the files of this split that are corrupt, too short, of one colour or, in
        part or whole, silent.

    Raises:
        ValueError: If there is no such split.
        UserError: If the folder or its `labels.csv` is not as described; if the system cannot read
            a file; if more files are corrupt than one and 1 % of the folder's; if there is nothing
            to use in the split.
    """
    if split not in folder_files.SPLITS:
        raise ValueError(
            f"`split` must be one of {', '.join(folder_files.SPLITS)}. Received: split={split!r}"
        )
    folder = pathlib.Path(folder).expanduser()
    kind, files = folder_files.list_files(folder)
    num_labelled = sum(file.label is not None for file in files)
    chosen = folder_files.files_of(files, split)
    if not chosen:
        labelled = "labelled " if split in folder_files.WHOLE and num_labelled else ""
        raise UserError(
            f"The {split} split of {folder} has no {labelled}files: add some, or give "
            f"{labels_csv.NAME} a column `split`."
        )
    whole = folder_files.files_of(files, folder_files.WHOLE.get(split, split))
    examples = prepared(
        f"{kind}-{_digest(folder, kind, whole, settings)}",
        cache_dir,
        _examples(folder, kind, whole, settings, len(files)),
    )
    examples = _of_files(examples, folder, chosen)
    labels, classes = {}, {}
    if split == "train" and 0 < num_labelled < len(files):
        _say_what_is_labelled(folder, files, num_labelled)
    if split in folder_files.WHOLE and num_labelled:
        labels, classes = _labels(files, examples.names)
        _warn_of_what_lacks(folder, split, files, labels["label"], classes["label"])
    return Examples(
        kind,
        examples.inputs,
        labels,
        classes,
        settings.sample_rate if kind == "audio" else None,
        examples.left_out,
        groups=recordings.runs(examples.names) if kind == "audio" else None,
    )


def _of_files(examples, folder, files):
    """Those of some files, as `Prepared`. If that is all of them they stay a memory map."""
    wanted = {file.name for file in files}
    left_out = {name: why for name, why in examples.left_out.items() if name in wanted}
    chosen = [number for number, name in enumerate(examples.names) if name in wanted]
    if not chosen:
        raise _none_usable(folder, files, left_out)
    if len(chosen) == len(examples.names):
        return dataclasses.replace(examples, left_out=left_out)
    names = [examples.names[number] for number in chosen]
    return Prepared(examples.inputs[chosen], {}, names, left_out)


def _none_usable(folder, files, left_out):
    name, why = next(iter(left_out.items()))
    return UserError(
        f"None of {len(files)} files of {folder} can be used, the first is {name} ({why})."
    )


def _labels(files, names):
    """The column "label" of the examples, and the names of its classes."""
    label_of = {file.name: file.label for file in files if file.label is not None}
    classes = sorted(set(label_of.values()))
    numbers = {label: number for number, label in enumerate(classes)}
    column = np.array([numbers[label_of[name]] for name in names], np.int64)
    return {"label": column}, {"label": tuple(classes)}


def _say_what_is_labelled(folder, files, num_labelled):
    said = f"{num_labelled} of {len(files)} files of {folder} are labelled; the others are for "
    said += "pre-training alone."
    if any(file.label is None and "/" in file.name for file in files):
        said += f" Its {labels_csv.NAME} gives the classes: subfolders are not taken as such."
    print(said, flush=True)


def _warn_of_what_lacks(folder, split, files, column, classes):
    """Prints in one line which classes a split does not show."""
    shown = set(column.tolist())
    lacking = [name for number, name in enumerate(classes) if number not in shown]
    if not lacking:
        return
    num_files = collections.Counter(file.label for file in files)
    named = [f"{name} (of {num_files[name]} files)" for name in lacking[:MOST_NAMED]]
    more = [f"{len(lacking) - MOST_NAMED} more"] if len(lacking) > MOST_NAMED else []
    print(
        f"Warning: the {split} split of {folder} shows nothing of {len(lacking)} of "
        f"{len(classes)} classes: {', '.join(named + more)}.",
        flush=True,
    )


def _digest(folder, kind, files, settings):
    """Changes with everything that the prepared examples depend on."""
    try:
        stats = [(folder / file.name).stat() for file in files]
    except OSError as error:
        raise _cannot_read(error.filename, error) from error
    record = {
        "version": decoding.VERSION,
        "settings": decoding.settings_of(kind, settings),
        "files": [(file.name, *decoding.state_of(stat)) for file, stat in zip(files, stats)],
    }
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def _cannot_read(path, error):
    return UserError(
        f"Cannot read {path}: {error.strerror or error}. Mend that, or move the file elsewhere."
    )


def _examples(folder, kind, files, settings, num_all):
    """Yields `(input, labels, name)` of each example; returns why files were left out, by name."""
    left_out, corrupt, any_used = {}, {}, False
    sample_rates, num_mixed = collections.Counter(), 0
    paths = [folder / file.name for file in files]
    # Closed here, whatever is raised: a garbage collection may not wait for its threads.
    with contextlib.closing(decoding.decode_all(paths, kind, settings)) as decoded:
        progress = tqdm.tqdm(decoded, "Decoding", len(files), unit="file", mininterval=1.0)
        for number, (parts, file) in enumerate(zip(progress, files), start=1):
            try:
                for part in parts:
                    for example in part.inputs:
                        any_used = True
                        yield example, {}, file.name
            except decoding.CorruptFile as error:
                corrupt[file.name] = left_out[file.name] = f"corrupt: {error}"
                what, mend = f"files of {folder}", "Mend or remove them."
                decoding.refuse_corrupt(corrupt, number, num_all, what, mend)
                continue
            except OSError as error:
                raise _cannot_read(folder / file.name, error) from error
            if part.left_out:
                left_out[file.name] = part.left_out
            if kind == "audio":
                sample_rates[part.sample_rate] += 1
                num_mixed += part.num_channels > 1
    if not any_used:
        raise _none_usable(folder, files, left_out)
    del sample_rates[settings.sample_rate]
    rates = ", ".join(str(rate) for rate in sorted(sample_rates, reverse=True))
    _say(
        len(files),
        {
            f"resampled from {rates} to {settings.sample_rate}": sample_rates.total(),
            "mixed down": num_mixed,
            "left out, wholly or in part": len(left_out),
        },
    )
    return left_out


def _say(num_files, done):
    """Prints what was done to how many files in one line, if anything was."""
    done = [(what, number) for what, number in done.items() if number]
    parts = [f"{number} {what}" for what, number in done[1:]]
    if done:
        what, number = done[0]
        print("; ".join([f"{number} of {num_files} files {what}", *parts]))
