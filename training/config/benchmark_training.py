"""A benchmark of training steps."""

import dataclasses

from training.config.fields import flag, refuse_below
from training.errors import UserError

PARTS = ("objectives", "normalization", "scaling")


@dataclasses.dataclass(frozen=True)
class BenchmarkTrainingConfig:
    """A benchmark of training steps. The data set is the recipe's."""

    recipe: str = flag("notes", "what is trained")
    parts: tuple[str, ...] = flag(
        PARTS,
        "objectives: all permutations beside fixed sets; normalization: TensorFlow's kernel beside "
        "the batch normalisation of Keras; scaling: batches, precisions, numbers of patches, "
        "devices and workers, and what a step is made of",
    )
    soundfont: str = flag(
        "", "a .sf2 bank to render notes from, instead of the one installed", True
    )
    data_dir: str = flag("", "where prepared data sets lie, instead of your TFDS folder", True)
    num_permutations: tuple[int, ...] = flag(
        (100, 1000, 10000), "sizes of the fixed sets that a cross-entropy is timed with"
    )
    rounds: int = flag(7, "times that all take turns; medians are reported")
    steps: int = flag(10, "training steps in a turn")

    def check(self):
        """Raises `UserError` for unknown words and numbers out of range."""
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown or not self.parts:
            raise UserError(
                f"--parts must be some of {','.join(PARTS)}. Received: {','.join(self.parts)}."
            )
        refuse_below(self, ("rounds", "steps"), 1)
        if self.num_permutations and min(self.num_permutations) < 1:
            raise UserError(
                f"--num_permutations must be at least 1. Received: {self.num_permutations}."
            )
