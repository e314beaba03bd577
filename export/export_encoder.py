"""Exports the encoder of a finished pre-training run as a TF-Hub SavedModel, and checks it.

Example:
  python -m export.export_encoder --workdir=runs/notes --output=runs/notes/export

The SavedModel maps waveforms (batch, samples), float32 in [-1, 1] at the sample rate in its
metadata.json, to embeddings: longer input is cut into windows and averaged, shorter is padded.
"""

from training import flags


def main():
    from export import export_lib

    export_lib.run(flags.value("workdir"), flags.value("output"))
    return 0


if __name__ == "__main__":
    flags.folder("workdir", "folder of a finished run of training.pretrain")
    flags.folder("output", "folder to make; it must not hold anything yet")
    flags.run(main)
