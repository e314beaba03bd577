"""Measures an exported encoder where labels are few, beside the same encoder untrained.

Example:
  python -m training.transfer --encoder=runs/notes/export --data=notes --num_labels=500,1000,5000 \\
    --seeds=5 --workdir=runs/notes/transfer

Embeds recordings once with the frozen encoder and trains the paper's head, a perceptron of three
layers, on draws of few labels. A third row, "calibrated", is the untrained encoder with the
batch-norm statistics of unlabelled recordings. --protocol=finetune trains the encoder with the
head, beside the same network from fresh weights, "supervised"; --head=linear is the linear probe,
logistic or ridge regression on a frozen encoder, and one layer on one that is trained too.
Labels are counted by recording, whose windows share them. --strategy trains on several devices.
Writes report.json, report.md and a picture to the workdir.
"""

from training import flags
from training.config import HEADS, PROTOCOLS, STRATEGIES, TransferConfig, changed
from training.data import DATA_SETS


def main():
    config = changed(TransferConfig(), flags.given(TransferConfig))
    config.check()
    import tensorflow as tf

    from training import transfer_lib

    tf.config.experimental.enable_op_determinism()
    report = transfer_lib.run(config, flags.path("workdir"))
    print(transfer_lib.table(report["tasks"]), end="")
    return 0


if __name__ == "__main__":
    flags.define(
        TransferConfig,
        data=list(DATA_SETS),
        protocol=list(PROTOCOLS),
        head=list(HEADS),
        strategy=list(STRATEGIES),
    )
    flags.folder("workdir", "folder for the report and the picture")
    flags.run(main)
