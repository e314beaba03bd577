"""Which examples to use."""

import dataclasses

from training.config.fields import flag
from training.data import PUBLISHED, RENDERED

FOLDERS = ("folder", "nsynth")
DECODED = ("folder", *PUBLISHED)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which examples to use."""

    data: str = flag("notes", "data set")
    folder: str = flag(
        "", "of your own sounds, pictures or clips, or an extracted NSynth", True, data=FOLDERS
    )
    cache_dir: str = flag(
        "", "where decoded data lie, instead of ~/.cache/keras_s2l", True, data=DECODED
    )
    soundfont: str = flag(
        "", "a .sf2 bank to render notes from, instead of the one installed", True, data=RENDERED
    )
    validation: bool = flag(
        False,
        "choose settings: part of the training split takes the place of the test splits",
        data=RENDERED,
    )
    data_dir: str = flag(
        *("", "where prepared data sets lie, instead of your TFDS folder", True),
        data=(*RENDERED, *PUBLISHED),
    )
