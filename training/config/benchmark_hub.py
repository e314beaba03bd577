"""A benchmark of the loading of encoders."""

import dataclasses

from training.config.fields import flag, refuse_below


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
