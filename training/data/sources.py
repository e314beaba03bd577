"""Where TFDS has published data sets, and how to get them."""

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable

import tensorflow_datasets as tfds

from training.data import nsynth
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """Where TFDS has a data set.

    Attributes:
        name: What TFDS calls it, with its config.
        kind: As of `Examples`, and the name of the feature that holds the inputs.
        splits: TFDS's splits, by ours.
        labels: Path of the feature that holds the labels, by task.
        id: Feature that names an example; empty if none does.
        belongs: `belongs(id, split)` tells whether an example of TFDS's split is in ours.
        downloads: What is in the addresses of its files, if TFDS lists others too.
        package, modules: What pip installs for preparing it, and what that has to bring.
        program: What preparing runs.
        instead: Another way to get it, a sentence after a space.
    """

    name: str
    kind: str
    splits: dict
    labels: dict
    id: str = ""
    belongs: Callable = lambda name, split: True
    downloads: str = ""
    package: str = ""
    modules: tuple = ()
    program: str = ""
    instead: str = ""


_SPLITS = {"train": "train", "test": "test"}
_LABEL = {"label": "label"}
# Its authors drew the splits of this subset, acoustic instruments, anew: all share instruments.
_GANSYNTH = Source(
    "nsynth/gansynth_subset",
    "audio",
    {**_SPLITS, "valid": "valid"},
    {"family": "instrument/family", "instrument": "instrument/label", "pitch": "pitch"},
    id="id",
    package="apache-beam[tfrecord]",
    modules=("apache_beam", "crcmod"),
)
SOURCES = {
    "nsynth": dataclasses.replace(
        _GANSYNTH,
        name="nsynth/full",
        splits=nsynth.SPLITS,
        belongs=nsynth.belongs,
        instead=" Or give an extracted NSynth with --folder.",
    ),
    "nsynth_gansynth": _GANSYNTH,
    "speech_commands": Source(
        "speech_commands",
        "audio",
        {**_SPLITS, "validation": "validation"},
        _LABEL,
        package="pydub",
        modules=("pydub",),
    ),
    "ucf101": Source("ucf101/ucf101_1", "video", _SPLITS, _LABEL, program="ffmpeg"),
    "cifar10": Source("cifar10", "image", _SPLITS, _LABEL),
    "imagenet2012": Source(
        "imagenet2012", "image", {"train": "train", "test": "validation"}, _LABEL
    ),
    "voc2007": Source(
        "voc/2007",
        "image",
        {"train": "train+validation", "test": "test"},
        {"present": "labels"},
        downloads="2007",
    ),
    "stl10": Source("stl10", "image", {**_SPLITS, "unlabelled": "unlabelled"}, _LABEL),
}


def builder_of(name, data_dir=None):
    """The TFDS builder of a data set that lies prepared; nothing is downloaded.

    Args:
        name: One of `SOURCES`.
        data_dir: Where prepared data sets lie, or None for the user's TFDS folder.

    Raises:
        UserError: If it does not lie there. The line says how to get it.
    """
    source = SOURCES[name]
    builder = tfds.builder(source.name, data_dir=data_dir)
    if not builder.is_prepared():
        raise UserError(_how_to_get(name, source, builder, data_dir))
    return builder


def prepare(name, data_dir=None):
    """Downloads and prepares a data set, unless it lies prepared.

    Args:
        name: One of `SOURCES`.
        data_dir: As for `builder_of`.

    Returns:
        Its TFDS builder.

    Raises:
        UserError: If TFDS cannot prepare it, or something is lacking for it.
    """
    source = SOURCES[name]
    builder = tfds.builder(source.name, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    if lacking := _lacking(source):
        raise UserError(f"Preparing {name} needs {lacking}.{source.instead}")
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        print(f"Downloading {_download_size(source, builder)}", flush=True)  # TFDS does not say.
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever a download, an archive or a full disk raises.
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"Cannot prepare {name} in {builder.data_dir_root}: {why}") from error
    return builder


def _lacking(source):
    """What has to be installed before it can be prepared, in words; empty if nothing."""
    if any(importlib.util.find_spec(module) is None for module in source.modules):
        return f"{source.package}: run `pip install '{source.package}'`"
    if source.program and shutil.which(source.program) is None:
        return f"the program {source.program}: install it with your system's packages"
    return ""


def _how_to_get(name, source, builder, data_dir):
    command = f"python -m training.prepare --data={name}"
    if data_dir:
        command += f" --data_dir={data_dir}"
    root = builder.data_dir_root
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        files = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        do = f"{files} manual_dir is {root}/downloads/manual; then run `{command}`"
    else:
        do = f"`{command}` downloads {_download_size(source, builder)}"
    lacking = _lacking(source)
    needs = f", and needs {lacking}" if lacking else ""
    return f"{name} is not prepared in {root}: {do}{needs}.{source.instead}"


def _download_size(source, builder):
    sizes = [info.size for url, info in builder.url_infos.items() if source.downloads in url]
    return tfds.core.utils.Size(sum(sizes))
