"""`labels.csv`: the labels, splits and groups of the files of a folder."""

import csv
import pathlib

from training.errors import UserError

NAME = "labels.csv"
SPLITS = ("train", "test")


def read(path, names):
    """Reads `labels.csv`: the columns `path` and `label`, and, if wanted, `split` and `group`.

    Args:
        path: Its `pathlib.Path`.
        names: The files that it may name.

    Returns:
        A dict of its columns by the path of the file, which is the column `path`. A label may be
        empty: the file has none.

    Raises:
        UserError: If a column or a row is not like that. The header is row 1.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
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
    if row.get("split", "train") not in SPLITS:
        return f"the split must be train or test, not {row['split']!r}"
    return ""
