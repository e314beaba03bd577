"""What a pre-training run learns from, as the model takes it, batch by batch."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import tensorflow as tf

from training import models, objectives
from training.config import NOT_OF_VIEWS, OF_PICTURES, OF_SOUNDS
from training.data import decoding, recordings, stream
from training.data.augmentation import Augmentation
from training.data.examples import as_inputs
from training.data.orders import Orders
from training.data.prepared import digest, prepared
from training.data.stream import WHOLE
from training.data.views import Views
from training.errors import UserError
from training.recipes import RECIPES

KINDS = {"audio": "sounds", "image": "pictures", "video": "clips"}
EVALUATION_BATCH_SIZE = 256
STATISTICS_BATCHES = 20
NUM_PICTURED = 3
VERSION = 1  # One more whenever the same front-end comes to give other spectrograms.


@dataclasses.dataclass(frozen=True)
class Material:
    """What is learnt from, what is measured on, and what is looked at.

    Attributes:
        kind: "audio", "image" or "video".
        examples: Array or memory map `(examples, ...)`: float32 log spectrograms, int16 waveforms
            where these are the smaller ones, or uint8 pictures.
        sha256: Tells apart the waveforms or pictures that all was made from.
        left_out: Why, by name, of what could not be used.
        held_out: The same of the examples that are measured on.
        pictured: A few of these as they are measured on: `(x, order)`, or views.
    """

    kind: str
    examples: np.ndarray
    sha256: str
    left_out: dict
    held_out: np.ndarray
    pictured: tuple


def load(config, data_set):
    """Loads the data set of a config.

    Args:
        config: `PretrainConfig`.
        data_set: As `sets.of` gives it.

    Returns:
        `Material`.
    """
    _refuse_what_does_nothing(config, data_set.kind)
    train, held_out = (
        data_set.load(config, split) for split in (data_set.unlabelled, data_set.held_out)
    )
    left_out = {**train.left_out, **held_out.left_out}
    train = _share(train, config)
    said = f", something of {len(left_out)} left out" if left_out else ""
    print(f"{len(train)} examples to learn from, {len(held_out)} held out{said}", flush=True)
    if objectives.is_contrastive(config):
        _refuse_too_few(config, train, held_out)
    measured = _stored(config, held_out)
    chosen = np.linspace(0, len(measured), NUM_PICTURED, endpoint=False, dtype=int)
    return Material(
        train.kind,
        _stored(config, train),
        hashlib.sha256((digest(train.inputs) + digest(held_out.inputs)).encode()).hexdigest(),
        left_out,
        measured,
        _pictured(validation_of(config, train.kind, measured[chosen])),
    )


def _refuse_what_does_nothing(config, kind):
    """Raises `UserError` for what was set, other than the recipe's, that examples are not given."""
    recipe = RECIPES[config.recipe]()
    known = {
        one: (*names, *(OF_SOUNDS if one == "audio" else OF_PICTURES))
        for one, names in decoding.SETTINGS_OF.items()
    }
    for name in dict.fromkeys(name for names in known.values() for name in names):
        if getattr(config, name) == getattr(recipe, name):
            continue
        if name not in known[kind]:
            others = " and ".join(KINDS[other] for other in known if name in known[other])
            raise UserError(
                f"--{name} is for {others}. Received: --data={config.data}, which holds "
                f"{KINDS[kind]}."
            )
        if objectives.is_contrastive(config) and name in NOT_OF_VIEWS:
            raise UserError(
                f"--{name} does nothing with --objective=contrastive, whose views vary in ways of "
                "their own: leave it out."
            )


def _share(part, config):
    """Some of the recordings of a split; with one seed a smaller share is part of a larger one."""
    if config.data_share == 1:
        return part
    starts = part.starts()
    count = max(round(config.data_share * len(starts)), 1)
    chosen = np.sort(np.random.default_rng(config.seed).permutation(len(starts))[:count])
    index, _ = recordings.windows_of(starts, len(part), chosen)
    if isinstance(part.inputs, np.memmap):  # What is too large for memory stays on disk.
        name = _name_of("share", digest(part.inputs), config.data_share, config.seed)
        rows = ((part.inputs[number], {}, "") for number in index)
        inputs = prepared(name, config.cache_dir or None, rows).inputs
    else:
        inputs = part.inputs[index]
    return dataclasses.replace(part, inputs=inputs, labels={}, groups=None)


def _pictured(batches):
    """The one batch there is, without what is drawn for its loss."""
    batch = next(batches.as_numpy_iterator())
    if isinstance(batch, tuple) and isinstance(batch[0], dict):
        return batch[0]["input"], batch[1]
    return batch


def _refuse_too_few(config, *parts):
    """Views are told from those of other examples: a batch must not hold one twice."""
    fewest = min(map(len, parts))
    if fewest < config.batch_size:
        raise UserError(
            f"--objective=contrastive needs a batch of different examples: --batch_size="
            f"{config.batch_size} is more than the {fewest} there are."
        )


def batches_of(config, kind, examples, begin, end, share=WHOLE):
    """The training batches of the steps from `begin` up to `end`.

    Args:
        config: `PretrainConfig`.
        kind, examples: As of `Material`.
        begin, end: Range of steps.
        share: Which rows of each batch to make.

    Returns:
        A `tf.data.Dataset` of `(x, order)`, float32 `(batch_size, ...)` and int32
        `(batch_size, num_patches)`, or of views `(batch_size, 2, ...)`; of a share its rows. Where
        patches are jittered or the loss samples, `x` is a dictionary that holds these draws too, as
        `ShuffleToLearn` takes it: nothing is left to draw to the replicas.
    """
    as_input = _as_input(config)
    if objectives.is_contrastive(config):
        views = Views(kind, config.max_gain_db)

        def task(stored, seed):
            return views.of(as_input(stored), share.of(views.draws(config.batch_size, seed)))

    else:
        vary, orders = augmentation(config, kind).vary, orders_of(config)

        def task(stored, seed):
            drawn = {**_offsets(config, seed), **_noise(config, config.batch_size, seed)}
            drawn = {name: share.of(whole) for name, whole in drawn.items()}
            order = orders.draw(config.batch_size, seed)
            return _with(drawn, vary(as_input(stored), seed, share)), share.of(order)

    return stream.example_stream(
        examples, task, config.batch_size, config.seed, begin, end, config.data_service, share
    )


def statistics_of(config, kind, examples, step):
    """Inputs like those of a step and of the next ones, as batch normalisation is to see them.

    Args:
        config: `PretrainConfig`.
        kind, examples: As of `Material`.
        step: Of which model.

    Yields:
        `STATISTICS_BATCHES` batches of what the model slices, whole on every worker.
    """
    here = dataclasses.replace(config, data_service="")
    for batch in batches_of(here, kind, examples, step, step + STATISTICS_BATCHES):
        if objectives.is_contrastive(config):
            yield batch[:, 0]  # Of views, which vary alike.
        else:
            x, _ = batch
            yield x["input"] if isinstance(x, dict) else x


def validation_of(config, kind, examples, share=WHOLE):
    """Batches `(x, order)`, or of views, that are the same in every evaluation and every run.

    Args:
        config: `PretrainConfig`.
        kind, examples: As of `Material`.
        share: Whose batches to make.
    """
    as_input = _as_input(config)
    if objectives.is_contrastive(config):
        views = Views(kind, config.max_gain_db)
        draws = views.draws(len(examples), stream.step_seed(config.seed, -1))

        def task(stored, index):
            return views.of(as_input(stored), tf.gather(draws, index))

        # Whole batches: fewer views would be told more easily.
        whole = max(len(examples) // config.batch_size, 1) * config.batch_size
        return stream.evaluation_stream(examples[:whole], task, config.batch_size, share, True)
    orders = tf.constant(fixed_orders(config, len(examples)))
    noise = _noise(config, len(examples), stream.step_seed(config.seed, -1))

    def task(stored, index):
        drawn = {name: tf.gather(whole, index) for name, whole in noise.items()}
        return _with(drawn, as_input(stored)), tf.gather(orders, index)

    return stream.evaluation_stream(examples, task, EVALUATION_BATCH_SIZE, share)


def _with(drawn, x):
    return {"input": x, **drawn} if drawn else x


def _offsets(config, seed):
    """Where the patches of a batch lie in their rooms, if they are jittered."""
    if not config.jitter:
        return {}
    shape = [config.batch_size, config.total_patches, len(config.grid) or 1]
    seed = tf.random.experimental.stateless_fold_in(seed, 3)  # 1 and 2 vary sounds.
    return {"offsets": tf.random.stateless_uniform(shape, seed, 0, config.jitter + 1, tf.int32)}


def _noise(config, count, seed):
    """The noise of so many examples, if the loss samples."""
    if config.objective != "perturbed_samples":
        return {}
    seed = tf.random.experimental.stateless_fold_in(seed, 4)
    shape = [count, config.num_samples, config.total_patches]
    return {"draws": tf.random.stateless_normal(shape, seed)}


def fixed_orders(config, num_examples):
    """The permutations of an evaluation: int32 `(num_examples, num_patches)`, always the same."""
    return orders_of(config).draw(num_examples, stream.step_seed(config.seed, -1)).numpy()


def orders_of(config):
    """Which permutations the objective of a config learns from."""
    return Orders(config.total_patches, objectives.permutations(config))


def augmentation(config, kind):
    """How the examples of a config vary: pictures are not shifted or amplified like sounds."""
    if kind != "audio":
        return Augmentation(min_area=config.min_area)
    return Augmentation(
        config.max_shift,
        config.max_gain_db,
        config.min_snr_db,
        config.min_time,
        config.min_frequency,
    )


def _as_input(config):
    """From what is stored to what the model slices."""
    frontend = models.make_frontend(config)

    def as_input(stored):
        x = as_inputs(stored)
        return frontend(x) if stored.dtype == tf.int16 else x

    return as_input


def _stored(config, part):
    """The smaller one of waveforms and their spectrograms; pictures as they are."""
    if part.kind != "audio":
        return part.inputs
    frontend = models.make_frontend(config)
    of_spectrogram = math.prod(frontend.compute_output_shape((1, config.window_samples))) * 4
    if of_spectrogram > config.window_samples * 2:
        return part.inputs
    if not isinstance(part.inputs, np.memmap):
        return stream.batched(part.inputs, lambda stored: frontend(as_inputs(stored)))
    # What is too large for memory as waveforms lies on disk as spectrograms as well.
    settings = json.dumps(frontend.get_config(), sort_keys=True, default=str)
    name = _name_of("spectrograms", VERSION, digest(part.inputs), settings)
    made = prepared(name, config.cache_dir or None, _spectrograms(part.inputs, frontend))
    return made.inputs


def _name_of(kind, *made_from):
    """Of prepared data: another one for whatever is made of something else."""
    text = " ".join(map(str, made_from))
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _spectrograms(waveforms, frontend, batch_size=256):
    for begin in range(0, len(waveforms), batch_size):
        for spectrogram in np.asarray(frontend(as_inputs(waveforms[begin : begin + batch_size]))):
            yield spectrogram, {}, ""
