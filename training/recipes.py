"""Named recipes: what to train, with what to expect."""

from training.config import PretrainConfig


def notes():
    """Ten frequency bands of rendered notes, in a few minutes on two CPU cores.

    Command: python -m training.pretrain --recipe=notes --workdir=runs/notes
    """
    return PretrainConfig(recipe="notes")


RECIPES = {"notes": notes}
