"""Which files lie in a folder, with their labels and splits."""

import collections
import dataclasses

from training.data import decoding, labels_csv
from training.data.draws import drawn
from training.errors import UserError

# The labelled splits, each with the one of all files that it is chosen from.
WHOLE = {"train": "unlabelled", "test": "held_out"}
SPLITS = (*WHOLE, *WHOLE.values())
TEST_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class File:
    """One file of the folder.

    Attributes:
        name: Its path in the folder, with `/`.
        label: Name of its class; None if it has none.
        split: "train" or "test"; its label makes no difference to it.
    """

    name: str
    label: str | None
    split: str


def list_files(folder):
    """Finds what lies in a folder, without decoding anything.

    Args:
        folder: `pathlib.Path`.

    Returns:
        The kind of its files, and a `File` for each, sorted by name.

    Raises:
        UserError: If the folder or its `labels.csv` is not as `folders.load` describes.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    kind, names = _one_kind(folder)
    groups, given = {name: name for name in names}, {}
    if (folder / labels_csv.NAME).is_file():
        rows = labels_csv.read(folder / labels_csv.NAME, names)
        labels = {name: row["label"] for name, row in rows.items() if row["label"]}
        groups |= {name: row["group"] for name, row in rows.items() if row.get("group")}
        given = {name: row["split"] for name, row in rows.items() if "split" in row}
    else:
        labels = {name: name.split("/")[0] for name in names if "/" in name}
    _check_groups(groups, given)
    # Labels have no say: whoever adds some must not move a file that was learnt from into the test.
    splits = draw_splits(groups)
    of_group = {groups[name]: split for name, split in given.items()}
    return kind, [
        File(name, labels.get(name), of_group.get(groups[name], splits[name])) for name in names
    ]


def files_of(files, split):
    """The files of a split, as `folders.load` describes it."""
    if split in WHOLE:
        files = [file for file in files if file.label is not None] or files
    return [file for file in files if split in (file.split, WHOLE[file.split])]


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


def draw_splits(groups):
    """Draws the split of each file, by its group alone: adding files moves no other.

    Args:
        groups: The group of each file, by its name.

    Returns:
        "train" (four fifths of the groups) or "test", by name.
    """
    return {
        name: "test" if drawn(group) < TEST_SHARE else "train" for name, group in groups.items()
    }


def _check_groups(groups, split_of):
    first = {}
    for name, split in split_of.items():
        other = first.setdefault(groups[name], name)
        if split_of[other] != split:
            raise UserError(
                f"{labels_csv.NAME}: the group {groups[name]} is in both splits, {other} in "
                f"{split_of[other]} and {name} in {split}. Put all of a group into one."
            )
