"""Times training steps: all permutations beside fixed sets, and how long a step waits for data.

Example:
  python -m training.benchmark_training --recipe=notes --workdir=runs/steps

The network, the data and the batches are the recipe's. Objectives take turns in one process; the
peak memory of each is that of a process of its own. Compare the ratios of one run, on a machine
that does nothing else. Writes report.json and report.md to the workdir.
"""

from training import flags
from training.config import BenchmarkTrainingConfig
from training.recipes import RECIPES


def main():
    config = BenchmarkTrainingConfig(**flags.given(BenchmarkTrainingConfig))
    config.check()
    from training import benchmark_training_lib

    report = benchmark_training_lib.run(config, flags.value("workdir"))
    print(benchmark_training_lib.table(report), end="")
    return 0


if __name__ == "__main__":
    flags.define(BenchmarkTrainingConfig, recipe=list(RECIPES))
    flags.folder("workdir", "folder for the report")
    flags.run(main)
