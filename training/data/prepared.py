"""Examples that are made once and then lie on disk, as memory maps."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

from training.errors import UserError

DEFAULT_CACHE = "~/.cache/keras_s2l"
INPUTS = "inputs.raw"
UNFINISHED = ".unfinished-"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What lies on disk.

    Attributes:
        inputs: Memory map `(examples, ...)`, to read only, of a whole file without a header, which
            other processes can be told to read.
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
            with _one_at_a_time(folder):
                if not folder.is_dir():  # Another process may just have written it.
                    _write(folder, produce)
        except OSError as error:
            raise UserError(
                f"Cannot prepare examples in {folder}: {error}. Make room, or give another folder "
                "by --cache_dir or $KERAS_S2L_CACHE."
            ) from error
    try:
        return _open(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} is damaged ({error}): remove it, to prepare it again."
        ) from error


def _open(folder):
    columns = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("labels", "names", "left_out")
    }
    columns["labels"] = {task: np.array(values) for task, values in columns["labels"].items()}
    form = _form(folder)
    inputs = np.memmap(folder / INPUTS, form["dtype"], "r", shape=tuple(form["shape"]))
    if inputs.nbytes != (folder / INPUTS).stat().st_size:
        raise ValueError(f"{INPUTS} is longer than it should be")
    return Prepared(inputs, **columns)


def digest(inputs):
    """Tells apart what is learnt from: the SHA-256 of the inputs, kept beside a memory map.

    Args:
        inputs: Memory map that `prepared` gave, or any other array.
    """
    if isinstance(inputs, np.memmap):
        return _form(pathlib.Path(inputs.filename).parent)["sha256"]
    return hashlib.sha256(np.ascontiguousarray(inputs)).hexdigest()


def _form(folder):
    return json.loads((folder / "inputs.json").read_text(encoding="utf-8"))


@contextlib.contextmanager
def _one_at_a_time(folder):
    """Waits until no other process of this machine writes the folder, and keeps others waiting."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f"{UNFINISHED}{folder.name}.lock")
    while True:
        with open(path, "w", encoding="utf-8") as file:
            _lock(file, folder)
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # Who had it before has removed it.
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _lock(file, folder):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"Waiting for another process, which prepares {folder} …", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # A file system without locks: several may write, the first to end counts.
        return


def _write(folder, produce):
    """Writes what is produced into a folder beside it, which takes its name at the end."""
    _remove_leftovers(folder.parent)
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder.parent) as temporary:
        unfinished = pathlib.Path(temporary) / folder.name
        unfinished.mkdir()
        with open(unfinished / INPUTS, "wb") as file, _closed(produce):
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
    size = (folder / INPUTS).stat().st_size
    print(
        f"Prepared {len(columns['names'])} examples, {size / 1e6:.0f} MB, in {folder}", flush=True
    )


@contextlib.contextmanager
def _closed(produce):
    """Ends a generator, with the threads that it may have, also where writing fails."""
    try:
        yield
    finally:
        if hasattr(produce, "close"):
            produce.close()


def _remove_leftovers(cache):
    """Of processes that were killed; what is younger than a day may still be written."""
    for left in cache.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in [left, *left.rglob("*")])
            if newest < time.time() - 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)  # Not locks, which are files.


def _write_inputs(file, produce):
    """Appends each input to the file, and gives the other columns."""
    labels, names, left_out = {}, [], {}
    shape, dtype = None, None
    content = hashlib.sha256()
    produce = iter(produce)
    while True:
        try:
            example, example_labels, name = next(produce)
        except StopIteration as end:
            left_out = end.value or {}
            break
        example = np.asarray(example, order="C")
        if not names:
            shape, dtype = example.shape, example.dtype
            labels = {task: [] for task in example_labels}
        if (example.shape, example.dtype, set(example_labels)) != (shape, dtype, set(labels)):
            raise ValueError(
                f"`produce` must give inputs {shape} {dtype} with labels {sorted(labels)}, like "
                f"the first. Received: {example.shape} {example.dtype} with labels "
                f"{sorted(example_labels)} for {name}"
            )
        file.write(example.data)
        content.update(example.data)
        names.append(name)
        for task, label in example_labels.items():
            labels[task].append(np.asarray(label).tolist())
    if not names:
        raise ValueError("`produce` must give at least one example. Received: none")
    form = {"shape": [len(names), *shape], "dtype": dtype.str, "sha256": content.hexdigest()}
    return {"inputs": form, "labels": labels, "names": names, "left_out": left_out}
