"""Exports the encoder of a pre-training run as a TF-Hub SavedModel, and checks it.

Example:
  python -m export.export_encoder --workdir=runs/notes --output=runs/notes/export

The SavedModel maps waveforms (batch, samples), float32 in [-1, 1] at the sample rate in its
metadata.json, to embeddings: longer input is cut into windows and averaged, shorter is padded; or
pictures or clips. Beside it in the folder: MODEL_CARD.md, encoder.keras for Keras alone, and
SHA256SUMS; beside the folder OUTPUT.tar.gz, as a server of TF Hub sends it. With --checkpoint in
place of --workdir a run that goes on is exported as it was then.
"""

from export.config import EMBEDDINGS, ExportConfig
from training import flags


def main():
    config = ExportConfig(**flags.given(ExportConfig))
    config.check()
    import tensorflow as tf

    from export import export_lib, sources

    # GPUs compute in fewer bits than what is compared here.
    tf.config.set_visible_devices([], "GPU")
    given = config.workdir or config.checkpoint
    source = sources.of_run(given) if config.workdir else sources.of_checkpoint(given)
    if config.embedding:
        source = sources.with_embedding(source, config.embedding)
    export_lib.run(source, flags.path("output"), config.overwrite, config.formats)
    return 0


if __name__ == "__main__":
    flags.define(ExportConfig, embedding=list(EMBEDDINGS))
    flags.folder("output", "folder to make; it must not hold anything yet")
    flags.run(main)
