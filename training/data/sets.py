"""Data sets by name: how to load them, and which tasks their labels make."""

import dataclasses
import pathlib
from collections.abc import Callable

from training.data import (
    DATA_SETS,
    RENDERED,
    decoding,
    digit_scenes,
    folder_files,
    folders,
    moving_digits,
    notes,
    nsynth,
    recordings,
    sources,
    tfds_sets,
)
from training.data.examples import Examples
from training.errors import UserError

NUM_TRAIN, NUM_TEST = 4000, 1000  # Generated clips and stills.
PITCH = {
    "metric": "mean squared error in semitones²",
    "within": {"pitch within a semitone": 1.0},
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What labels are for.

    Attributes:
        test_split: Where it is measured.
        metric: "accuracy" of one class for each example, "mean average precision" of any number of
            classes, or the name of a squared error for a regression.
        within: Of a regression also the share of the answers that err by so much at most, by the
            name of what is told so well.
    """

    test_split: str
    metric: str = "accuracy"
    within: dict = dataclasses.field(default_factory=dict)

    @property
    def multi_label(self):
        """Whether the labels are booleans, one for each class."""
        return self.metric == "mean average precision"

    @property
    def is_regression(self):
        """Whether the labels are numbers, not classes."""
        return self.metric != "accuracy" and not self.multi_label


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        kind: As of `Examples`.
        load: `load(config, split)` returns `Examples`.
        held_out: The split that pre-training is measured on.
        tasks: `Task` by name of the label.
        shape: Of an example, for pictures.
        unlabelled: The split that pre-training learns from.
    """

    kind: str
    load: Callable
    held_out: str
    tasks: dict
    shape: tuple = ()
    unlabelled: str = "train"

    def splits(self):
        """All splits that tasks need, the training one first."""
        return ["train", *dict.fromkeys(task.test_split for task in self.tasks.values())]


def of(config, settings=None):
    """The data set that `config.data` names.

    Args:
        config: A config with the fields of `DataConfig`.
        settings: `decoding.Settings` for what is decoded, those of a `PretrainConfig` if None.

    Raises:
        UserError: If it is unknown, or is a folder that cannot be used.
    """
    _refuse_folder(config)
    if config.data == "folder":
        return _folder(config, settings or decoding_settings(config))
    if config.data in PUBLISHED:
        return _published(config, settings or decoding_settings(config))
    if config.data not in SETS:
        raise UserError(f"Unknown --data={config.data}. Known data sets: {', '.join(DATA_SETS)}.")
    return SETS[config.data]


def _refuse_folder(config):
    if config.folder and config.data not in ("folder", "nsynth"):
        raise UserError(
            f"--folder is for --data=folder and --data=nsynth. Received: --data={config.data}."
        )


def decoding_settings(config):
    """How a `PretrainConfig` decodes files."""
    names = [field.name for field in dataclasses.fields(decoding.Settings)]
    return decoding.Settings(**{name: getattr(config, name) for name in names})


def _shape(kind, settings):
    """Of what is decoded, for pictures."""
    if kind == "audio":
        return ()
    frames = (settings.num_frames,) if kind == "video" else ()
    return (*frames, settings.image_size, settings.image_size, settings.channels)


def _folder(config, settings):
    if not config.folder:
        raise UserError("--data=folder needs --folder, where your files lie.")
    kind, files = folder_files.list_files(pathlib.Path(config.folder).expanduser())
    labelled = any(file.label is not None for file in files)
    return DataSet(
        kind,
        lambda config, split: folders.load(
            config.folder, split, settings, config.cache_dir or None
        ),
        held_out="held_out",
        tasks={"label": Task("test")} if labelled else {},
        shape=_shape(kind, settings),
        unlabelled="unlabelled",
    )


def _published(config, settings):
    def load(config, split):
        cache_dir = config.cache_dir or None
        if config.folder:
            return nsynth.load_folder(config.folder, split, settings, cache_dir)
        return tfds_sets.load(config.data, split, settings, config.data_dir or None, cache_dir)

    data_set = PUBLISHED[config.data]
    return dataclasses.replace(data_set, load=load, shape=_shape(data_set.kind, settings))


def prepare(config):
    """Renders or downloads what `config.data` names, unless it lies prepared.

    Returns:
        Its TFDS builder, None for sets that are generated or read from a folder.

    Raises:
        UserError: If the data set is unknown, is not read from a folder, or cannot be had.
    """
    _refuse_folder(config)
    if config.data in RENDERED:
        return _notes_builder(config)
    if config.data in PUBLISHED and not config.folder:
        return sources.prepare(config.data, config.data_dir or None)
    if config.data not in DATA_SETS:
        of(config)  # Says what is known.
    return None


def _notes_builder(config):
    try:
        builder = notes.notes_builder(
            config.soundfont or None, config.data_dir or None, config.data == "notes_varied"
        )
        builder.download_and_prepare()
    except (ModuleNotFoundError, OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return builder


def _load_notes(config, split):
    builder = _notes_builder(config)
    part = "train" if config.validation else split
    if not builder.info.splits[part].num_examples:
        raise UserError(f"The split {part} of --data={config.data} is empty: choose another bank.")
    columns = builder.as_dataset(split=part, batch_size=-1)
    columns = {name: column.numpy() for name, column in columns.items()}
    if config.validation:
        members = zip(columns["instrument"], columns["pitch"])
        kept = [notes.split_of(*of, validation=True) == split for of in members]
        columns = {name: column[kept] for name, column in columns.items()}
    labels = {task: columns[task] for task in ("family", "instrument", "pitch")}
    examples = Examples("audio", columns["audio"], labels, sample_rate=notes.SAMPLE_RATE)
    return recordings.usable(examples, f"{config.data}/{split}")


def _generated(load):
    def of_split(config, split):
        return load(split, NUM_TRAIN if split == "train" else NUM_TEST)

    return of_split


NOTES = DataSet(
    "audio",
    _load_notes,
    held_out="test_notes",
    tasks={
        "family": Task("test_instruments"),
        "instrument": Task("test_notes"),
        "pitch": Task("test_instruments", **PITCH),
    },
)
SETS = {
    **dict.fromkeys(RENDERED, NOTES),
    "moving_digits": DataSet(
        "video",
        _generated(moving_digits.load),
        held_out="test",
        tasks={"motion": Task("test"), "digit": Task("test")},
        shape=(16, 64, 64, 1),
    ),
    "digit_scenes": DataSet(
        "image",
        _generated(digit_scenes.load),
        held_out="test",
        tasks={
            "present": Task("test", "mean average precision"),
            "largest": Task("test"),
            "count": Task("test"),
        },
        shape=(64, 64, 1),
    ),
}

# What `of` gives for these loads them with the settings at hand.
PUBLISHED = {
    "nsynth": DataSet(
        "audio",
        None,
        held_out="valid",
        tasks={
            "family": Task("test"),
            "instrument": Task("test_notes"),  # Train and test share no instrument.
            "pitch": Task("test", **PITCH),
        },
    ),
    "nsynth_gansynth": DataSet(
        "audio",
        None,
        held_out="valid",
        tasks={
            "family": Task("test"),
            "instrument": Task("test"),
            "pitch": Task("test", **PITCH),
        },
    ),
    "speech_commands": DataSet("audio", None, "validation", {"label": Task("test")}),
    "ucf101": DataSet("video", None, "test", {"label": Task("test")}),
    "cifar10": DataSet("image", None, "test", {"label": Task("test")}),
    "imagenet2012": DataSet("image", None, "test", {"label": Task("test")}),
    "voc2007": DataSet("image", None, "test", {"present": Task("test", "mean average precision")}),
    "stl10": DataSet("image", None, "test", {"label": Task("test")}, unlabelled="unlabelled"),
}
