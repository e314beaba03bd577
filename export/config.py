"""What an export depends on; defaults live here alone."""

import dataclasses

from training.config.fields import flag
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """An export of the encoder of a run."""

    workdir: str = flag("", "folder of a finished run of training.pretrain", True)
    checkpoint: str = flag(
        "", "in place of workdir WORKDIR/checkpoints/step_….weights.h5 of any run", True
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
