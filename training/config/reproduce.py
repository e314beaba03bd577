"""The paper's experiments."""

import dataclasses

from training.config.data import DataConfig
from training.config.fields import flag, refuse_below
from training.errors import UserError

SETTINGS = ("quick", "full")


@dataclasses.dataclass(frozen=True)
class ReproduceConfig(DataConfig):
    """Which of the paper's tables and figures to measure, and how well."""

    table: tuple[int, ...] = flag((), "1: objectives; 2: what is cut")
    figure: tuple[int, ...] = flag((), "2: numbers of labels, and of examples; 3: of patches")
    objectives: tuple[str, ...] = flag(
        (), "table 1: only these beside the perturbed Fenchel-Young loss; all if not given"
    )
    ablation: bool = flag(False, "what one choice of the recipe at a time is worth")
    setting: str = flag("quick", "quick: few steps, for CPU cores; full: for a GPU")
    steps: int = flag(0, "training steps of each run, 0 for those of the setting")
    pretrain_seeds: int = flag(6, "runs of each kind, whose differences are tested in pairs")
    seeds: int = flag(5, "draws of each labelled set, averaged for each run")
    early_stopping: bool = flag(
        True,
        "stop early what is trained from labels, as the paper does, by a fifth of them; without it "
        "heads have 300 steps and more weight decay. One or the other in a workdir",
    )
    jobs: int = flag(1, "programs to run at once, which share the cores")

    def check(self):
        """Raises `UserError` for numbers out of range, or if nothing is asked for."""
        refuse_below(self, ("pretrain_seeds", "seeds", "jobs"), 1)
        refuse_below(self, ("steps",), 0)
        if self.setting not in SETTINGS:
            raise UserError(f"--setting must be {' or '.join(SETTINGS)}. Received: {self.setting}.")
        for name, known in (("table", (1, 2)), ("figure", (2, 3))):
            if unknown := set(getattr(self, name)) - set(known):
                raise UserError(
                    f"--{name} must be of {', '.join(map(str, known))}. Received: "
                    f"{', '.join(map(str, sorted(unknown)))}."
                )
        if self.objectives and 1 not in self.table:
            raise UserError("--objectives are the rows of table 1: give --table=1 too.")
        if not self.table and not self.figure and not self.ablation:
            raise UserError("Give what to measure: --table=1,2, --figure=2,3 or --ablation.")
