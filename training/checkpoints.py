"""Checkpoints of a run: written whole or not at all, verified and restored strictly."""

import hashlib
import io
import os
import pathlib
import re
import time

import h5py
import numpy as np

from training import files
from training.errors import UserError

_NAME = re.compile(r"step_(\d+)\.weights\.h5")
_SUMS = "sums_of_interval"


class Checkpoints:
    """The checkpoints in a folder, which appears with the first of them.

    Each ends with the SHA-256 of all before, by which it is verified when it is read. HDF5 does not
    mind.

    Args:
        folder: Where they lie, as `step_00000250.weights.h5`: model, optimizer, the state of every
            generator of seeds, and the sums of metrics if an evaluation interval had begun.
        keep: How many of the newest to keep.
        keep_every_hours: If not 0, one that would go is kept for good, in a folder `kept_...`
            beside, if it was saved so much later than the last such one, or than the first save.
        read_only: Whether `save` leaves them as they are: of several workers one alone writes.

    Attributes:
        saves: How many have been saved by this process.
        seconds_saving: How long training waited for them.
    """

    def __init__(self, folder, keep=3, keep_every_hours=0.0, read_only=False):
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.keep_every_hours = keep_every_hours
        self.kept = self.folder.with_name(f"kept_{self.folder.name}")
        self.read_only = read_only
        self.saves = 0
        self.seconds_saving = 0.0

    def steps(self):
        """Steps that have a checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(name.group(1)) for name in names if name)

    def path(self, step):
        return self.folder / f"step_{step:08d}.weights.h5"

    def save(self, model, sums=()):
        """Saves model and optimizer under the optimizer's step, unless that step is there.

        Args:
            model: The model.
            sums: Variables of its metrics, within an evaluation interval.

        Raises:
            UserError: If a weight is no number.
            OSError: If it cannot be written; nothing is left of it.
        """
        step = int(model.optimizer.iterations.numpy())
        if self.read_only or step in self.steps():
            return
        began = time.monotonic()
        _refuse_not_finite(model, step)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.keep_every_hours:
            self.kept.mkdir(exist_ok=True)  # When it was made the first interval began.
        content = _content(model, sums)
        _write(self.path(step), content, hashlib.sha256(content).digest())
        for old in self.steps()[: -self.keep]:
            self._let_go(self.path(old))
        self.saves += 1
        self.seconds_saving += time.monotonic() - began

    def _let_go(self, path):
        """Keeps a checkpoint for good if an interval has passed since the last, else removes it."""
        if self.keep_every_hours:
            kept = [_saved_at(one) for one in self.kept.glob("step_*")]
            last = max(kept, default=_saved_at(self.kept))
            if _saved_at(path) - last >= 3600 * self.keep_every_hours:
                os.replace(path, self.kept / path.name)
                return
        path.unlink()

    def restore(self, model):
        """Loads the newest whole checkpoint into a compiled, built model; 0 without any.

        Newer ones that are damaged are set aside, as `step_00000250.weights.h5.damaged`.

        Returns:
            Its step.

        Raises:
            UserError: If all are damaged, or it belongs to another model.
        """
        steps = self.steps()
        if not steps:
            return 0
        newest = next((step for step in reversed(steps) if is_whole(self.path(step))), None)
        if newest is None:
            raise UserError(
                f"{self.path(steps[-1])} cannot be restored: it is damaged, and so are all before "
                f"it. Start in a new --workdir, or remove {self.folder} to begin again."
            )
        path = self.path(newest)
        load_weights(model, path)
        if int(model.optimizer.iterations.numpy()) != newest:
            raise UserError(f"{path} was not saved at step {newest}: remove it and start again.")
        for damaged in [self.path(step) for step in steps if step > newest and not self.read_only]:
            os.replace(damaged, f"{damaged}.damaged")
            print(f"{damaged} is damaged: kept as {damaged.name}.damaged, and the one before taken")
        return newest

    def sums(self, step):
        """The sums of metrics that a checkpoint holds: arrays, none at the end of an interval."""
        with h5py.File(self.path(step)) as file:
            return [value[()] for _, value in sorted(file.get(_SUMS, {}).items())]


def _saved_at(path):
    return path.stat().st_mtime


def _refuse_not_finite(model, step):
    """The loss of a step does not see what its own update did to the weights."""
    for variable in [*model.variables, *model.optimizer.variables]:
        if not np.isfinite(variable.numpy()).all():
            raise UserError(
                f"{variable.path} became nan or infinite at step {step}. The last good checkpoint "
                "is kept; start in a new --workdir with a lower --learning_rate."
            )


_DIGEST_BYTES = hashlib.sha256().digest_size


def is_whole(path):
    """Whether a checkpoint ends with the SHA-256 of all before.

    Raises:
        UserError: If it is not there any more.
    """
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise _removed(path) from error
    return content[-_DIGEST_BYTES:] == hashlib.sha256(content[:-_DIGEST_BYTES]).digest()


class _InMemory(io.BytesIO):
    """What Keras takes for a file of weights; on a full disk HDF5 itself can crash the process."""

    def __str__(self):
        return "in_memory.weights.h5"


def _content(model, sums=()):
    """The bytes of a file of weights."""
    memory = _InMemory()
    model.save_weights(memory)
    if sums:
        with h5py.File(memory, "a") as file:
            for number, variable in enumerate(sums):
                file[f"{_SUMS}/{number:03d}"] = variable.numpy()
    return memory.getbuffer()


def _write(path, *parts):
    try:
        whole = files.whole(path, path.with_name("unfinished.weights.h5"))
        with whole as unfinished, unfinished.open("wb") as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}). The checkpoints before are "
            "whole: mend this, and the same command goes on."
        ) from error


def save_weights(model, path):
    """`model.save_weights`, so that `path` is never seen half written.

    Raises:
        OSError: If it cannot be written; nothing is left of it.
    """
    _write(path, _content(model))


def _removed(path):
    return UserError(
        f"{path} was removed meanwhile, as a run that goes on removes its older checkpoints: take "
        "the newest one."
    )


def load_weights(model, path):
    """`model.load_weights`, with one line when the file does not fit, or is gone."""
    try:
        model.load_weights(path)
    except FileNotFoundError as error:
        raise _removed(path) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} cannot be restored ({first_line}). It is damaged or from another model: "
            "remove it to go on from the one before, or start in a new --workdir."
        ) from error
