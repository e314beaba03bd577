"""Kills a pre-training run again and again, and compares it with one that was left alone.

Example:
  python -m training.soak --minutes=60 --pretrain="--recipe=notes" --workdir=runs/soak

Kills by SIGKILL or SIGTERM come at random, and the same command goes on each time. In the end both
runs must have the same weights, bit for bit, and the same log. The workdir gets report.json,
report.md, pictures/memory.png and what the processes said, output.txt.
"""

from training import flags
from training.config import SoakConfig


def main():
    config = SoakConfig(**flags.given(SoakConfig))
    config.check()
    from training import soak_lib

    report = soak_lib.run(config, flags.path("workdir"))
    print(soak_lib.page(report), end="")
    return 0 if report["same_weights"] and report["same_log"] else 1


if __name__ == "__main__":
    flags.define(SoakConfig)
    flags.folder("workdir", "folder of both runs and the report")
    flags.run(main)
