"""Times training steps: objectives, kernels of batch normalisation, and how steps scale.

Example:
  python -m training.benchmark_training --recipe=notes --workdir=runs/steps

The network, the data and the batches are the recipe's. Of the objectives, all permutations take
turns with fixed sets in one process; the peak memory of each is that of a process of its own. Of
batch normalisation ours takes turns with Keras's. For scaling, batches, precisions, numbers of
patches, devices and workers are timed in processes of their own, each in turn with a reference;
without GPUs a device is half of the CPU cores. Compare the ratios of one run, on a machine that
does nothing else. Writes report.json, report.md and, of scaling, a picture to the workdir.
"""

from training import flags
from training.config import BenchmarkTrainingConfig
from training.recipes import RECIPES


def main():
    config = BenchmarkTrainingConfig(**flags.given(BenchmarkTrainingConfig))
    config.check()
    from training import benchmark_training_lib, benchmark_training_tables

    report = benchmark_training_lib.run(config, flags.path("workdir"))
    print(benchmark_training_tables.page(report), end="")
    return 0


if __name__ == "__main__":
    flags.define(BenchmarkTrainingConfig, recipe=list(RECIPES))
    flags.folder("workdir", "folder for the report")
    flags.run(main)
