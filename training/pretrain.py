"""Pre-trains an encoder by shuffling to learn; resumes where its workdir left off.

Example:
  python -m training.pretrain --recipe=notes --workdir=runs/notes

Writes to the workdir: config.json, log.csv, tensorboard/, checkpoints/, kept_checkpoints/,
pictures/, and at the end final.weights.h5 and report.json. Ctrl-C saves a checkpoint and stops; the
same command goes on from the newest whole checkpoint, as if nothing had been. One process at a time
holds the workdir.
"""

from training import flags, workdirs
from training.config import (
    AXES,
    BACKBONES,
    OBJECTIVES,
    PRECISIONS,
    REMAINDERS,
    SCHEDULES,
    STRATEGIES,
    PretrainConfig,
)
from training.data import DATA_SETS
from training.recipes import RECIPES


def main():
    workdir = flags.path("workdir")
    changes = flags.given(PretrainConfig)
    recipe = RECIPES[changes.get("recipe", PretrainConfig.recipe)]()
    config = workdirs.resume_config(workdir, recipe, changes)
    config.check()
    import tensorflow as tf

    from training import pretrain_lib

    if not config.jit_compile:  # Keras would leave XLA out.
        tf.config.experimental.enable_op_determinism()
    report = pretrain_lib.run(config, workdir)
    if report is None:
        print(f"Stopped; the same command goes on. A checkpoint is in {workdir}/checkpoints.")
        return flags.STOPPED
    measured = report["measured"]
    print(
        f"Finished: {report['held_out'][measured['metric']]:.1%} of held-out "
        f"{measured['meaning']} (chance {measured['chance']:.1%}). Weights: "
        f"{workdir}/{workdirs.FINAL_WEIGHTS}"
    )
    return 0


if __name__ == "__main__":
    flags.define(
        PretrainConfig,
        RECIPES,
        recipe=list(RECIPES),
        data=list(DATA_SETS),
        axis=list(AXES),
        remainder=list(REMAINDERS),
        backbone=list(BACKBONES),
        objective=list(OBJECTIVES),
        schedule=list(SCHEDULES),
        strategy=list(STRATEGIES),
        precision=list(PRECISIONS),
    )
    flags.folder("workdir", "folder of the run; the same folder resumes it")
    flags.run(main)
