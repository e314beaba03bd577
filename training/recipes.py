"""Named recipes: what to train, with what to expect."""

from training.config import PretrainConfig


def notes():
    """Ten frequency bands of rendered notes.

    Command: python -m training.pretrain --recipe=notes --workdir=runs/notes
    Hardware: two CPU cores, 3 GiB of memory, 460 MB of disk; 4 to 5 minutes.
    Expect: about 80 % of the patches of held-out notes in their place (chance 10 %); what the
    encoder is worth is in README.md.
    """
    return PretrainConfig(recipe="notes")


RECIPES = {"notes": notes}
