"""A benchmark of the ranking ops."""

import dataclasses
import re

from training.config.fields import check_seed, flag, refuse_below
from training.errors import UserError

REGIMES = ("pooled", "mixed")
REGULARIZATIONS = ("l2", "kl")
BACKENDS = ("tensorflow", "jax")


@dataclasses.dataclass(frozen=True)
class BenchmarkRankingConfig:
    """A benchmark of the ranking ops."""

    cells: tuple[str, ...] = flag(
        (
            *("1x8", "64x8", "256x10", "256x20", "1024x20"),
            *("4096x9", "128x100", "32x1000", "8x10000", "1x100000"),
        ),
        "sizes to time, rows x scores in a row",
    )
    regimes: tuple[str, ...] = flag(
        REGIMES,
        "strength of the soft rank: pooled is 1, where a long row is one block; mixed is 4 / n, "
        "where it is many",
    )
    regularizations: tuple[str, ...] = flag(REGULARIZATIONS, "kinds of soft rank")
    backend: str = flag("tensorflow", "what our own ops run on")
    accelerator: bool = flag(
        False,
        "time on the GPU or TPU that the backend sees; of the peers softjax and ott-jax alone, and "
        "with --backend=tensorflow none",
    )
    rounds: int = flag(7, "times that all contenders of a cell take turns; medians are reported")
    seed: int = flag(0, "the scores and the upstream gradient follow from it")

    def check(self):
        """Raises `UserError` for unknown words and numbers out of range."""
        for name, known in (("regimes", REGIMES), ("regularizations", REGULARIZATIONS)):
            unknown = sorted(set(getattr(self, name)) - set(known))
            if unknown or not getattr(self, name):
                raise UserError(
                    f"--{name} must be some of {','.join(known)}. "
                    f"Received: {','.join(getattr(self, name))}."
                )
        self.sizes()
        refuse_below(self, ("rounds",), 1)
        check_seed(self)

    def sizes(self):
        """The cells as pairs of whole numbers, batch and n, each once."""
        if not self.cells:
            raise UserError("--cells must name at least one size, such as 256x10.")
        for cell in self.cells:
            if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", cell):
                raise UserError(
                    "--cells must be sizes such as 256x10,1024x20: rows, x, scores in a row. "
                    f"Received: {','.join(self.cells)}."
                )
        return [tuple(map(int, cell.split("x"))) for cell in dict.fromkeys(self.cells)]
