"""The main job."""

import dataclasses

from training.config.fields import flag
from training.config.pretrain import PretrainConfig
from training.config.transfer import TransferConfig


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """The main job. What is `None` is left to the programs that it runs."""

    data_dir: str | None = flag(
        None, "where prepared data sets lie, instead of your TFDS folder", True
    )
    steps: int = flag(1500, "training steps, half of the recipe's")
    num_labels: tuple[int, ...] | None = flag(None, "sizes of the labelled sets")
    seeds: int | None = flag(3, "draws of each labelled set")
    seed: int | None = flag(None, "everything follows from it")

    def check(self):
        """Raises `UserError` for what a later phase would refuse."""
        given = {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        for config_class in (PretrainConfig, TransferConfig):
            names = {field.name for field in dataclasses.fields(config_class)}
            config_class(**{name: given[name] for name in names & set(given)}).check()
