"""What an export and its benchmark depend on; defaults live here alone."""

import dataclasses

from training.config.fields import flag, refuse_below
from training.errors import UserError

# As `keras_s2l.pretext_model` has them, which costs the import of Keras.
EMBEDDINGS = ("levels", "positions", "patches", "fc")


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """An export of the encoder of a run."""

    workdir: str = flag("", "folder of a finished run of training.pretrain", True)
    checkpoint: str = flag(
        "", "in place of workdir WORKDIR/checkpoints/step_….weights.h5 of any run", True
    )
    embedding: str = flag(
        "", "embedding that it gives where none is asked for, in place of the run's"
    )
    overwrite: bool = flag(False, "replace an earlier export")
    formats: tuple[str, ...] = flag(
        (),
        "further formats, of pictures or of one window's spectrogram: litert (encoder.tflite) and "
        "onnx (encoder.onnx; needs the extra keras_s2l[onnx])",
    )

    def check(self):
        """Raises `UserError` where it is not clear what is to be exported."""
        if bool(self.workdir) == bool(self.checkpoint):
            raise UserError(
                "Give either --workdir, of a finished run, or --checkpoint, of one that goes on."
            )


@dataclasses.dataclass(frozen=True)
class BenchmarkHubConfig:
    """A benchmark of the loading of encoders."""

    export: str = flag("", "folder that export.export_encoder made", True)
    rounds: int = flag(7, "times that all take turns; medians are reported")
    steps: int = flag(10, "training steps in a turn")
    batch_size: int = flag(64, "examples in a step")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        refuse_below(self, ("rounds", "steps", "batch_size"), 1)
