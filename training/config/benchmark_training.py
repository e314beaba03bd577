"""A benchmark of training steps."""

import dataclasses

from training.config.fields import flag, refuse_below
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class BenchmarkTrainingConfig:
    """A benchmark of training steps. The data set is the recipe's."""

    recipe: str = flag("notes", "what is trained")
    soundfont: str = flag(
        "", "a .sf2 bank to render notes from, instead of the one installed", True
    )
    data_dir: str = flag("", "where prepared data sets lie, instead of your TFDS folder", True)
    num_permutations: tuple[int, ...] = flag(
        (100, 1000, 10000), "sizes of the fixed sets that a cross-entropy is timed with"
    )
    rounds: int = flag(7, "times that all objectives take turns; medians are reported")
    steps: int = flag(10, "training steps in a turn")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        refuse_below(self, ("rounds", "steps"), 1)
        if self.num_permutations and min(self.num_permutations) < 1:
            raise UserError(
                f"--num_permutations must be at least 1. Received: {self.num_permutations}."
            )
