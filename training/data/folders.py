"""A folder of the user's own sounds, pictures or clips as a data set."""

import collections
import csv
import dataclasses
import hashlib
import json
import pathlib

import tqdm

from training.data import decoding
from training.data.examples import Examples
from training.data.prepared import prepared
from training.errors import UserError

SPLITS = ("train", "test")
TEST_SHARE = 0.2
MOST_CORRUPT = 0.01  # Of the files. More of them, and something is wrong with the folder.
LABELS = "labels.csv"


@dataclasses.dataclass(frozen=True)
class File:
    """One file of the folder.

    Attributes:
        name: Its path in the folder, with `/`.
        label: Name of its class; None if nothing is labelled.
        split: "train" or "test".
    """

    name: str
    label: str | None
    split: str


def load(folder, split, settings, cache_dir=None):
    """Loads a split of a folder of files, all of one kind; decodes the folder at its first use.

    The classes are the folder's subfolders; or they stand in its `labels.csv`, with the columns
    `path` and `label`, and, if wanted, `split` ("train" or "test") and `group`. Without either,
    nothing is labelled. Where no split is given a fifth of the files is the test split, drawn by
    their names; files of a group stay together.

    A sound gives an example for each window, a picture or a clip gives one. The same files,
    labels and settings are not decoded again.

    Args:
        folder: Path of the folder; hidden files, and suffixes not in `decoding.SUFFIXES`, are
            ignored.
        split: "train" or "test".
        settings: `decoding.Settings`.
        cache_dir: As for `prepared`.

    Returns:
        `Examples`, in the order of their files' names, with the int64 labels "label" unless there
        are none. Its `left_out` names the files of this split that are corrupt, too short or, in
        part or whole, silent.

    Raises:
        ValueError: If there is no such split.
        UserError: If the folder or its `labels.csv` is not as described; if more than one file and
            more than 1 % of all are corrupt; if there is nothing to use in the split.
    """
    if split not in SPLITS:
        raise ValueError(f'`split` must be "train" or "test". Received: split={split!r}')
    folder = pathlib.Path(folder).expanduser()
    kind, files = list_files(folder)
    classes = sorted({file.label for file in files if file.label is not None})
    everything = prepared(
        f"{kind}-{_digest(folder, files, settings)}",
        cache_dir,
        _examples(folder, kind, files, settings, classes),
    )
    split_of = {file.name: file.split for file in files}
    # Examples lie split by split, so each split is a slice of the memory map.
    num_train = sum(split_of[name] == "train" for name in everything.names)
    part = slice(num_train) if split == "train" else slice(num_train, None)
    if not everything.names[part]:
        raise UserError(
            f"The {split} split of {folder} has nothing to use: add files, or give {LABELS} a "
            "column `split`."
        )
    return Examples(
        kind,
        everything.inputs[part],
        {task: values[part] for task, values in everything.labels.items()},
        {"label": tuple(classes)} if classes else {},
        settings.sample_rate if kind == "audio" else None,
        {name: why for name, why in everything.left_out.items() if split_of[name] == split},
    )


def list_files(folder):
    """Finds what lies in a folder, without decoding anything.

    Args:
        folder: `pathlib.Path`.

    Returns:
        The kind of its files, and a `File` for each, the train split first, sorted by name.

    Raises:
        UserError: If the folder or its `labels.csv` is not as `load` describes.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    kind, names = _one_kind(folder)
    given = {}
    if (folder / LABELS).is_file():
        rows = read_labels(folder / LABELS, names)
        labels = {name: row["label"] for name, row in rows.items()}
        groups = {name: row.get("group") or name for name, row in rows.items()}
        given = {name: row["split"] for name, row in rows.items() if "split" in row}
    else:
        labels = {name: name.split("/")[0] for name in names if "/" in name}
        groups = {name: name for name in names}
    unlabelled = [name for name in names if name not in labels]
    if labels and unlabelled:
        raise UserError(
            f"{len(unlabelled)} of {len(names)} files in {folder} have no label, the first is "
            f"{unlabelled[0]}: label all or none, by subfolders or in {LABELS}."
        )
    split_of = given or draw_splits(groups)
    _check_groups(groups, split_of)
    files = [File(name, labels.get(name), split_of[name]) for name in names]
    return kind, sorted(files, key=lambda file: (SPLITS.index(file.split), file.name))


def _one_kind(folder):
    """The kind of the files in a folder, and their names, sorted."""
    kind_of = {suffix: kind for kind, suffixes in decoding.SUFFIXES.items() for suffix in suffixes}
    by_kind = collections.defaultdict(list)
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        kind = kind_of.get(path.suffix.lower())
        if kind and path.is_file() and not any(part.startswith(".") for part in name.parts):
            by_kind[kind].append(name.as_posix())
    if not by_kind:
        expected = "; ".join(f"{kind}: {' '.join(s)}" for kind, s in decoding.SUFFIXES.items())
        raise UserError(f"{folder} holds no files of a known kind ({expected}).")
    if len(by_kind) > 1:
        found = ", ".join(f"{kind} ({len(by_kind[kind])})" for kind in sorted(by_kind))
        raise UserError(f"{folder} holds files of {len(by_kind)} kinds: {found}. Keep one kind.")
    [(kind, names)] = by_kind.items()
    return kind, sorted(names)


def read_labels(path, names):
    """Reads `labels.csv`.

    Args:
        path: Its `pathlib.Path`.
        names: The files that it may label.

    Returns:
        A dict of its columns by the path of the file, which is the column `path`.

    Raises:
        UserError: If a column or a row is not as `load` describes. The header is row 1.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            header, *lines = list(csv.reader(file)) or [[]]
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} is no CSV file in UTF-8: {error}.") from error
    header = [column.strip() for column in header]
    known = ("path", "label", "split", "group")
    strange = [column for column in header if column not in known]
    if strange or not {"path", "label"} <= set(header) or len(set(header)) < len(header):
        raise UserError(
            f"{path} must have the columns path,label and may have split,group. "
            f"{'Unknown' if strange else 'Found'}: {', '.join(strange or header) or 'none'}."
        )
    names, rows = set(names), {}
    for number, cells in enumerate(lines, start=2):
        if not cells:  # An empty line.
            continue
        row = dict(zip(header, (cell.strip() for cell in cells)))
        wrong = f"has {len(cells)} cells, not {len(header)}" if len(cells) != len(header) else ""
        if not wrong:
            row["path"] = pathlib.PurePosixPath(row["path"]).as_posix()  # Without "./".
            wrong = _wrong_with(row, names, rows)
        if wrong:
            raise UserError(f"{path}, row {number}: {wrong}.")
        rows[row["path"]] = row
    return rows


def _wrong_with(row, names, rows):
    """What a row cannot say, in words; empty if it is fine."""
    if row["path"] not in names:
        return f"there is no file {row['path']} of the folder's kind"
    if row["path"] in rows:
        return f"{row['path']} is there twice"
    if not row["label"]:
        return f"the label of {row['path']} is empty"
    if row.get("split", "train") not in SPLITS:
        return f"the split must be train or test, not {row['split']!r}"
    return ""


def draw_splits(groups):
    """Draws the split of each file, by its group alone: adding files moves no other.

    Args:
        groups: The group of each file, by its name.

    Returns:
        "train" (four fifths of the groups) or "test", by name.
    """
    splits = {}
    for name, group in groups.items():
        draw = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
        splits[name] = "test" if draw < TEST_SHARE else "train"
    return splits


def _check_groups(groups, split_of):
    first = {}
    for name, group in groups.items():
        other = first.setdefault(group, name)
        if split_of[other] != split_of[name]:
            raise UserError(
                f"{LABELS}: the group {group} is in both splits, {other} in {split_of[other]} and "
                f"{name} in {split_of[name]}. Put all of a group into one."
            )


def _digest(folder, files, settings):
    """Changes with everything that the prepared examples depend on."""
    stats = [(folder / file.name).stat() for file in files]
    record = {
        "version": decoding.VERSION,
        "settings": dataclasses.asdict(settings),
        "files": [
            (*dataclasses.astuple(file), stat.st_size, stat.st_mtime_ns)
            for file, stat in zip(files, stats)
        ],
    }
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def _examples(folder, kind, files, settings, classes):
    """Yields `(input, labels, name)` of each example; returns why files were left out, by name."""
    left_out, corrupt, num_examples = {}, [], 0
    sample_rates, num_mixed = collections.Counter(), 0
    decoded_files = decoding.decode_all([folder / file.name for file in files], kind, settings)
    progress = tqdm.tqdm(decoded_files, "Decoding", len(files), unit="file", mininterval=1.0)
    for future, file in zip(progress, files):
        try:
            decoded = future.result()
        except decoding.CorruptFile as error:
            corrupt.append(file.name)
            left_out[file.name] = f"corrupt: {error}"
            continue
        if decoded.left_out:
            left_out[file.name] = decoded.left_out
        if kind == "audio":
            sample_rates[decoded.sample_rate] += 1
            num_mixed += decoded.num_channels > 1
        labels = {"label": classes.index(file.label)} if classes else {}
        num_examples += len(decoded.inputs)
        for example in decoded.inputs:
            yield example, labels, file.name
    if len(corrupt) > max(1, MOST_CORRUPT * len(files)):
        raise UserError(
            f"{len(corrupt)} of {len(files)} files in {folder} cannot be read, the first is "
            f"{corrupt[0]} ({left_out[corrupt[0]]}). Mend or remove them."
        )
    if not num_examples:
        name, why = next(iter(left_out.items()))
        raise UserError(f"No file in {folder} can be used, the first is {name} ({why}).")
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
