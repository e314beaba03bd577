"""Measures the paper's tables and figures: pre-trains, exports and transfers, seed by seed.

Example:
  python -m training.reproduce --table=1 --data=notes --workdir=runs/table1

Every pre-training, export and transfer is one of our programs, in a process of its own. Stopped, it
goes on where it was; asked for more tables, figures or seeds, it runs what is missing. At the end,
and when it is stopped, it writes report.html (one page with everything in it), report.md and
results.json. Differences are tested in pairs over the pre-training seeds: with fewer than 6 none
can be significant.
"""

from training import flags
from training.config import ReproduceConfig, changed
from training.config.reproduce import SETTINGS


def main():
    config = changed(ReproduceConfig(), flags.given(ReproduceConfig))
    config.check()
    from training.experiments import reproduction

    written = reproduction.run(config, flags.path("workdir"))
    print(f"Everything is in {written}.")
    return 0


if __name__ == "__main__":
    from training.experiments.materials import MATERIALS

    flags.define(ReproduceConfig, data=list(MATERIALS), setting=list(SETTINGS))
    flags.folder("workdir", "folder of all runs and of the report")
    flags.run(main)
