"""A run that is killed again and again."""

import dataclasses
import math

from training.config.fields import check_seed, flag
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class SoakConfig:
    """A run that is killed again and again."""

    pretrain: str = flag("--recipe=notes", "flags of training.pretrain, but steps and workdir")
    minutes: float = flag(60.0, "how long the run is disturbed")
    kill_seconds: tuple[int, ...] = flag((60, 120), "shortest and longest time between kills")
    seed: int = flag(0, "times and kinds of kills follow from it")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        if len(self.kill_seconds) != 2 or not 0 < self.kill_seconds[0] <= self.kill_seconds[1]:
            raise UserError(
                "--kill_seconds must be two numbers above 0, the shorter one first, such as "
                f"60,120. Received: {','.join(map(str, self.kill_seconds))}."
            )
        if not self.kill_seconds[0] <= 60 * self.minutes < math.inf:
            raise UserError(
                f"--minutes must be long enough for a kill after {self.kill_seconds[0]} s. "
                f"Received: {self.minutes}."
            )
        check_seed(self)
