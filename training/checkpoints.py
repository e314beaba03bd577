"""Checkpoints of a run: written whole or not at all, restored strictly."""

import os
import pathlib
import re

from training.errors import UserError

_NAME = re.compile(r"step_(\d+)\.weights\.h5")


class Checkpoints:
    """The checkpoints in a folder, which appears with the first of them.

    Args:
        folder: Where they lie, as `step_00000250.weights.h5`: model and optimizer.
        keep: How many of the newest to keep.
        read_only: Whether `save` leaves them as they are: of several workers one alone writes.
    """

    def __init__(self, folder, keep=3, read_only=False):
        self.folder = pathlib.Path(folder)
        self.keep = keep
        self.read_only = read_only

    def steps(self):
        """Steps that have a checkpoint, oldest first."""
        if not self.folder.is_dir():
            return []
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(name.group(1)) for name in names if name)

    def path(self, step):
        return self.folder / f"step_{step:08d}.weights.h5"

    def save(self, model):
        """Saves model and optimizer under the optimizer's step, unless that step is there."""
        step = int(model.optimizer.iterations.numpy())
        if not self.read_only and step not in self.steps():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_weights(model, self.path(step))
            for old in self.steps()[: -self.keep]:
                self.path(old).unlink()

    def restore(self, model):
        """Loads the newest checkpoint into a compiled, built model; gives its step, 0 without one.

        Raises:
            UserError: If the file is damaged or belongs to another model.
        """
        steps = self.steps()
        if not steps:
            return 0
        path = self.path(steps[-1])
        load_weights(model, path)
        if int(model.optimizer.iterations.numpy()) != steps[-1]:
            raise UserError(f"{path} was not saved at step {steps[-1]}: remove it and start again.")
        return steps[-1]


def save_weights(model, path):
    """`model.save_weights`, so that `path` is never seen half written."""
    unfinished = path.with_name("unfinished.weights.h5")
    model.save_weights(unfinished, overwrite=True)
    os.replace(unfinished, path)


def load_weights(model, path):
    """`model.load_weights`, with one line when the file does not fit."""
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} cannot be restored ({first_line}). It is damaged or from another model: "
            "remove it to go on from the one before, or start in a new --workdir."
        ) from error
