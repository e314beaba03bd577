"""Examples that are made once and then lie on disk, as memory maps."""

import dataclasses
import json
import os
import pathlib
import tempfile

import numpy as np

from training.errors import UserError

DEFAULT_CACHE = "~/.cache/keras_s2l"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What lies on disk.

    Attributes:
        inputs: Memory map `(examples, ...)`, to read only.
        labels: Arrays `(examples, ...)` by task.
        names: Where each example comes from, a list of strings.
        left_out: Why, by name, of what could not be used.
    """

    inputs: np.ndarray
    labels: dict
    names: list
    left_out: dict


def prepared(key, cache_dir, produce):
    """Opens the examples that lie under `key`; writes them first, one by one, if there are none.

    They appear under `key` all at once: what fails or is interrupted leaves nothing behind that
    would be taken for whole, and starts from the beginning the next time.

    Args:
        key: Name of their folder. It has to change with all that the examples depend on.
        cache_dir: Where such folders lie; None for `$KERAS_S2L_CACHE`, or else
            `~/.cache/keras_s2l`.
        produce: Iterator of `(input array, labels dict, name)`, the inputs of one shape and dtype,
            the labels of the same tasks. It is not touched if the examples are there. What a
            generator returns, if anything, is kept as `left_out`: a dict of strings.

    Returns:
        `Prepared`.

    Raises:
        ValueError: If nothing is produced, or examples that do not go together.
        UserError: If the cache cannot be written.
    """
    cache = pathlib.Path(cache_dir or os.environ.get("KERAS_S2L_CACHE") or DEFAULT_CACHE)
    folder = cache.expanduser() / key
    if not folder.is_dir():
        try:
            _write(folder, produce)
        except OSError as error:
            raise UserError(
                f"Cannot prepare examples in {folder}: {error}. Make room, or set "
                "$KERAS_S2L_CACHE to another folder."
            ) from error
    columns = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("labels", "names", "left_out")
    }
    columns["labels"] = {task: np.array(values) for task, values in columns["labels"].items()}
    return Prepared(np.load(folder / "inputs.npy", mmap_mode="r"), **columns)


def _write(folder, produce):
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder.parent) as temporary:
        unfinished = pathlib.Path(temporary) / folder.name
        unfinished.mkdir()
        with open(unfinished / "inputs.npy", "wb") as file:
            columns = _write_inputs(file, produce)
            file.flush()
            os.fsync(file.fileno())
        for name, values in columns.items():
            (unfinished / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # Else another process was first, with the same examples.
                raise


def _write_inputs(file, produce):
    """Appends each input to the file, and gives the other columns."""
    labels, names, left_out = {}, [], {}
    shape, dtype = None, None
    produce = iter(produce)
    while True:
        try:
            example, example_labels, name = next(produce)
        except StopIteration as end:
            left_out = end.value or {}
            break
        if not names:
            shape, dtype = example.shape, example.dtype
            labels = {task: [] for task in example_labels}
            _write_header(file, 0, shape, dtype)
        if (example.shape, example.dtype, set(example_labels)) != (shape, dtype, set(labels)):
            raise ValueError(
                f"`produce` must give inputs {shape} {dtype} with labels {sorted(labels)}, like "
                f"the first. Received: {example.shape} {example.dtype} with labels "
                f"{sorted(example_labels)} for {name}"
            )
        file.write(np.ascontiguousarray(example).data)
        names.append(name)
        for task, label in example_labels.items():
            labels[task].append(np.asarray(label).tolist())
    if not names:
        raise ValueError("`produce` must give at least one example. Received: none")
    file.seek(0)
    _write_header(file, len(names), shape, dtype)
    return {"labels": labels, "names": names, "left_out": left_out}


def _write_header(file, num_examples, shape, dtype):
    """NumPy leaves room in it for the number of examples to grow: it may be written again."""
    header = {
        "shape": (num_examples, *shape),
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(dtype),
    }
    np.lib.format.write_array_header_1_0(file, header)
