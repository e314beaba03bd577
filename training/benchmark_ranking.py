"""Times our ranking ops beside the hard sort and the peers that are installed, on the same scores.

Examples:
  python -m training.benchmark_ranking --workdir=runs/ranking
  python -m training.benchmark_ranking --workdir=runs/short --cells=256x10,1024x20 --regimes=pooled
  python -m training.benchmark_ranking --workdir=runs/ranking_jax --backend=jax
  python -m training.benchmark_ranking --workdir=runs/ranking_gpu --backend=jax --accelerator

Peers: torchsort, fast-soft-sort, softjax, ott-jax, diffsort. None is needed; report.md says how to
get those that are missing. Everything runs on the processor, or with --accelerator on the first
GPU or TPU, in one process, by turns: compare the ratios of one run, on a machine that does nothing
else. With --backend=jax it needs no TensorFlow. Writes report.json, report.md and times.png to the
workdir. About ten minutes on two CPU cores.
"""

import os

from training import flags
from training.config import BACKENDS, BenchmarkRankingConfig


def main():
    config = BenchmarkRankingConfig(**flags.given(BenchmarkRankingConfig))
    config.check()
    # Before Keras is imported.
    os.environ["KERAS_BACKEND"] = config.backend
    if not config.accelerator:  # Some peers know none: nobody gets one.
        os.environ.update(CUDA_VISIBLE_DEVICES="-1", JAX_PLATFORMS="cpu")
    # PyTorch's threads spin while they wait for each other, which takes 16 ms instead of 0.2 ms
    # where another program holds a core. To sleep soon costs them nothing where none does.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    from training import benchmark_ranking_lib

    workdir = flags.path("workdir")
    report = benchmark_ranking_lib.run(config, workdir)
    print(benchmark_ranking_lib.summary(report), end="")
    print(f"Everything is in {workdir}: report.md, report.json, times.png.")
    return 0


if __name__ == "__main__":
    flags.define(BenchmarkRankingConfig, backend=list(BACKENDS))
    flags.folder("workdir", "folder for the report and the picture")
    flags.run(main)
