"""Exports the encoder of a pre-training run as a TF-Hub SavedModel, and checks it.

Example:
  python -m export.export_encoder --workdir=runs/notes --output=runs/notes/export

The SavedModel maps waveforms (batch, samples), float32 in [-1, 1] at the sample rate in its
metadata.json, to embeddings: longer input is cut into windows and averaged, shorter is padded; or
pictures or clips. Beside it in the folder: MODEL_CARD.md, encoder.keras for Keras alone, and
SHA256SUMS; beside the folder OUTPUT.tar.gz, as a server of TF Hub sends it. With --checkpoint in
place of --workdir a run that goes on is exported as it was then.
"""

from absl import flags as absl_flags

from training import flags
from training.errors import UserError


def main():
    from export import export_lib, sources

    workdir, checkpoint = flags.value("workdir"), flags.value("checkpoint")
    if bool(workdir) == bool(checkpoint):
        raise UserError("Give --workdir, of a finished run, or --checkpoint, of one that goes on.")
    source = sources.of_run(workdir) if workdir else sources.of_checkpoint(checkpoint)
    export_lib.run(source, flags.value("output"), flags.value("overwrite"))
    return 0


if __name__ == "__main__":
    absl_flags.DEFINE_string("workdir", None, "folder of a finished run of training.pretrain")
    absl_flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/step_….weights.h5 of any run")
    absl_flags.DEFINE_bool("overwrite", False, "replace an earlier export")
    flags.folder("output", "folder to make; it must not hold anything yet")
    flags.run(main)
