"""Which files lie in a folder, with their labels and splits."""

import collections
import dataclasses
import hashlib

from training.data import decoding, labels_csv
from training.errors import UserError

SPLITS = (*labels_csv.SPLITS, "unlabelled")
TEST_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class File:
    """One file of the folder.

    Attributes:
        name: Its path in the folder, with `/`.
        label: Name of its class; None if it has none.
        split: "train" or "test".
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
    # What is not labelled is left to pre-training, unless its group is in the test split.
    split_of = given or draw_splits({name: groups[name] for name in labels or names})
    _check_groups(groups, split_of)
    tested = {groups[name] for name, split in split_of.items() if split == "test"}
    return kind, [
        File(name, labels.get(name), "test" if groups[name] in tested else "train")
        for name in names
    ]


def files_of(files, split):
    """The files of a split, as `folders.load` describes it."""
    if split == "unlabelled":
        return [file for file in files if file.split == "train"]
    labelled = [file for file in files if file.label is not None]
    return [file for file in labelled or files if file.split == split]


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


def drawn(group):
    """A number in [0, 1) that looks random, and is always the same for a name."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32


def _check_groups(groups, split_of):
    first = {}
    for name, split in split_of.items():
        other = first.setdefault(groups[name], name)
        if split_of[other] != split:
            raise UserError(
                f"{labels_csv.NAME}: the group {groups[name]} is in both splits, {other} in "
                f"{split_of[other]} and {name} in {split}. Put all of a group into one."
            )
