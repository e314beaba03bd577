"""Data sets that TFDS prepared, read record by record."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from PIL import Image

from training.data import decoding, published
from training.data.sources import SOURCES, builder_of
from training.errors import UserError


def load(name, split, settings, data_dir=None, cache_dir=None):
    """Loads a split of a data set that lies prepared; decodes it at its first use.

    Args:
        name: One of `sources.SOURCES`.
        split: One of its `splits`.
        settings: `decoding.Settings`.
        data_dir: As for `sources.builder_of`.
        cache_dir: As for `prepared`.

    Returns:
        `Examples`, in TFDS's order. Labels are int64, or bool `(examples, classes)` where TFDS
        lists the classes of an example.

    Raises:
        UserError: If it does not lie prepared (the line says how to get it), or is damaged.
    """
    source, builder = SOURCES[name], builder_of(name, data_dir)
    parts = [builder.info.splits[part] for part in source.splits[split].split("+")]
    num_items = sum(part.num_examples for part in parts)
    return published.load(
        f"{name}-{split}",
        source.kind,
        _items(source, builder, split, num_items, settings),
        num_items,
        settings,
        cache_dir,
        [
            builder.info.full_name,
            *((part.name, part.shard_lengths, part.num_bytes) for part in parts),
        ],
        _classes(source, builder.info.features),
    )


def _feature(features, path):
    for name in path.split("/"):
        features = features[name]
    return features


def _classes(source, features):
    """Names of the classes of each task that has them."""
    classes = {}
    for task, path in source.labels.items():
        feature = _feature(features, path)
        feature = getattr(feature, "feature", feature)  # What a list of labels is made of.
        if not feature.names[0].isdecimal():  # Where it knows no names TFDS counts.
            classes[task] = tuple(feature.names)
    return classes


def _items(source, builder, split, num_items, settings):
    """Yields an `Item` for each record of a split."""
    features = builder.info.features
    records = tfds.as_numpy(
        builder.as_dataset(
            split=source.splits[split],
            shuffle_files=False,
            decoders=_decoders(source),
            read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        )
    )
    progress = tqdm.tqdm(records, "Decoding", num_items, unit="example", mininterval=1.0)
    try:
        for record in progress:
            name = record[source.id or "tfds_id"].decode()
            if not source.belongs(name, split):
                continue
            labels = {
                task: _label(_feature(features, path), _feature(record, path))
                for task, path in source.labels.items()
            }
            content, feature = record[source.kind], features[source.kind]
            decode = functools.partial(_decode, content, feature, settings)
            yield published.Item(name, labels, decode)
    except tf.errors.OpError as error:
        raise UserError(
            f"The data set in {builder.data_dir} is damaged: remove that folder and prepare it "
            f"again ({error.message.splitlines()[0]})."
        ) from error


def _decoders(source):
    """Reads what is used, and leaves pictures as the files that they are."""
    wanted = {source.kind: True}
    for path in filter(None, (source.id, *source.labels.values())):
        *parents, name = path.split("/")
        inner = wanted
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = True
    as_files = {} if source.kind == "audio" else {source.kind: tfds.decode.SkipDecoding()}
    return tfds.decode.PartialDecoding(wanted, decoders=as_files)


def _label(feature, label):
    if isinstance(feature, tfds.features.Sequence):
        return np.isin(np.arange(feature.feature.num_classes), label)
    return int(label)


def _decode(content, feature, settings):
    """Decodes samples, a picture's bytes, or those of all frames of a clip."""
    if isinstance(feature, tfds.features.Audio):
        if not len(content):
            raise decoding.CorruptFile("holds no samples")
        full_scale = 32768 if content.dtype == np.int16 else 1
        sound = (content[:, None].astype("float32") / full_scale, feature.sample_rate)
        return list(decoding.decode(None, "audio", settings, sound))
    if isinstance(feature, tfds.features.Image):
        return [decoding.unless_one_colour(_picture(content, feature, settings))]
    if len(content) < settings.num_frames:
        why = f"too short: {len(content)} frames of {settings.num_frames}"
        return [decoding.Decoded(np.empty(0), why)]
    chosen = np.linspace(0, len(content) - 1, settings.num_frames).round().astype(int)
    frames = [_picture(content[frame], feature.feature, settings) for frame in chosen]
    return [decoding.unless_one_colour(np.stack(frames))]


def _picture(encoded, feature, settings):
    try:
        pixels = feature.decode_example(encoded).numpy()
    except tf.errors.OpError as error:
        raise decoding.CorruptFile(error.message.splitlines()[0]) from error
    return decoding.square(Image.fromarray(pixels), settings)
