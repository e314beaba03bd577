"""What a transfer compares: the exported encoder and the same one untrained, frozen or not."""

import copy
import math

import keras
import numpy as np
import tensorflow as tf

import keras_s2l
from keras_s2l.precise_statistics import take_statistics
from training import end_to_end, heads
from training.data import recordings, stream
from training.effective_rank import effective_rank
from training.errors import UserError
from training.linear_probe import LinearProbe

CALIBRATION_BATCH_SIZE = 64
CALIBRATION_EXAMPLES = 60 * CALIBRATION_BATCH_SIZE
TRAINED_MOMENTUM = 0.9  # Averages are to follow some hundred steps.
BATCH_NORMS = ("BatchNormalization", "FusedBatchNormalization")


def make(config, metadata, splits, drawn):
    """The rows of a protocol, by name.

    Args:
        config: `TransferConfig`.
        metadata: Of the export.
        splits: `Examples` by split.
        drawn: Of each draw the numbers of the training recordings whose labels are used.
    """
    embedding = config.embedding or metadata["embedding"]
    architecture, shape = metadata["architectures"][embedding], _input_shape(metadata)
    if config.protocol == "frozen":
        signature, train = config.embedding or None, splits["train"]
        make_encoder = {
            "pretrained": lambda: keras_s2l.HubEncoder(
                config.encoder, trainable=False, signature=signature
            ),
            "untrained": lambda: _fresh(architecture, shape, config.seed),
            "calibrated": lambda: _calibrated(architecture, shape, config.seed, train),
            "statistics": lambda: _statistics(metadata["input"]),
        }
        return {
            name: FrozenRow(make_encoder[name](), config, splits, drawn) for name in config.encoders
        }
    # With statistics of its own from the start: the initial ones say nothing about the inputs, and
    # so few steps would not make up for it.
    follows_fast = with_batch_norms(architecture, momentum=TRAINED_MOMENTUM)
    fresh = _calibrated(follows_fast, shape, config.seed, splits["train"])
    rows = {"supervised": TrainedRow(fresh, follows_fast, shape, config, splits)}
    if config.protocol == "finetune":
        pretrained = keras_s2l.HubEncoder(config.encoder, trainable=True)
        pretrained = TrainedRow(pretrained, architecture, shape, config, splits)
        rows = {"pretrained": pretrained, **rows}
    return rows


class FrozenRow:
    """Heads on the embeddings of an encoder, which are made once.

    Args:
        encoder: From a batch of inputs to embeddings.
        config: `TransferConfig`.
        splits: `Examples` by split.
        drawn: Of each draw the numbers of the training recordings whose labels are used.
    """

    def __init__(self, encoder, config, splits, drawn):
        self.config = config
        self.used = np.unique(drawn)
        self.embeddings = {
            split: _embed(encoder, part, self.used if split == "train" else None)
            for split, part in splits.items()
        }
        for split, embeddings in self.embeddings.items():
            _refuse_not_finite(config, split, embeddings)
        self.effective_rank = round(effective_rank(self.embeddings["train"]), 1)

    def learner(self, answers):
        if self.config.head == "linear":
            return LinearProbe(answers, self.config)
        return heads.Head(self.embeddings["train"].shape[1], answers, self.config)

    def labelled(self, chosen, labels):
        """Embeddings and labels of some training recordings."""
        return self.embeddings["train"][np.searchsorted(self.used, chosen)], labels[chosen]

    def measured(self, split, labels):
        return self.embeddings[split], labels


class TrainedRow:
    """An encoder that is trained together with each head.

    Args:
        encoder: A built Keras layer, trainable, made outside the scope of any strategy.
        architecture: Of the same, serialised, for several devices.
        shape: Of a batch of inputs.
        config: `TransferConfig`.
        splits: `Examples` by split.
    """

    def __init__(self, encoder, architecture, shape, config, splits):
        self.encoder = encoder
        self.start = [variable.numpy() for variable in _variables(encoder)]
        self.architecture = with_batch_norms(architecture, synchronized=True)
        self.shape = shape
        self.config = config
        self.splits = splits

    def learner(self, answers):
        """To be called in the scope of the strategy, if there is one."""
        encoder = self.encoder
        if tf.distribute.has_strategy():  # The graph of an export would not synchronise.
            encoder = _fresh(self.architecture, self.shape, self.config.seed)
        for variable, value in zip(_variables(encoder), self.start, strict=True):
            variable.assign(value)
        input_shape = self.splits["train"].inputs.shape[1:]
        return end_to_end.EndToEnd(encoder, input_shape, answers, self.config)

    def labelled(self, chosen, labels):
        """Windows of some training recordings, where each begins, and labels."""
        train = self.splits["train"]
        index, starts = recordings.windows_of(train.starts(), len(train), chosen)
        return train.inputs[index], starts, labels[chosen]

    def measured(self, split, labels):
        return self.splits[split].inputs, self.splits[split].starts(), labels


def _variables(encoder):
    """Its variables in one order, whether it was loaded or built."""
    return [*encoder.trainable_variables, *encoder.non_trainable_variables]


def _calibrated(architecture, shape, seed, part):
    """The untrained encoder with batch-norm statistics of examples; it sees no labels."""
    encoder = _fresh(architecture, shape, seed)
    chosen = np.random.default_rng(seed).permutation(len(part))[:CALIBRATION_EXAMPLES]
    # Of one size, for each batch counts as much as another.
    batches = np.array_split(chosen, math.ceil(len(chosen) / CALIBRATION_BATCH_SIZE))
    take_statistics(encoder, map(part.batch, batches))
    return encoder


def _statistics(expected):
    """A function from waveforms to mean and deviation in time of each bin of their spectrograms."""
    frontend = keras_s2l.LogSpectrogram(expected["sample_rate"], **expected["spectrogram"])

    def statistics(waveforms, training):
        del training  # It has one mode.
        spectrograms = frontend(waveforms)[..., 0]
        moments = tf.reduce_mean(spectrograms, 1), tf.math.reduce_std(spectrograms, 1)
        return tf.concat(moments, axis=-1)

    return statistics


def _input_shape(metadata):
    """Of a batch: waveforms may have any length, pictures have one size."""
    return (
        (None, None)
        if metadata["input"]["kind"] == "audio"
        else (None, *metadata["input"]["shape"])
    )


def _fresh(architecture, shape, seed):
    keras.utils.set_random_seed(seed)
    # Keras empties what it reads.
    encoder = keras.saving.deserialize_keras_object(copy.deepcopy(architecture))
    encoder.build(shape)
    return encoder


def with_batch_norms(architecture, **settings):
    """A serialised layer whose batch normalisations have other settings."""
    if isinstance(architecture, list):
        return [with_batch_norms(item, **settings) for item in architecture]
    if not isinstance(architecture, dict):
        return architecture
    changed = {key: with_batch_norms(value, **settings) for key, value in architecture.items()}
    if changed.get("class_name") in BATCH_NORMS:
        changed["config"] = {**changed["config"], **settings}
    return changed


def _refuse_not_finite(config, split, embeddings):
    """Raises `UserError` for what no head can learn from."""
    bad = np.count_nonzero(~np.isfinite(embeddings).all(axis=1))
    if bad:
        raise UserError(
            f"--encoder={config.encoder} gives NaN or infinity for {bad} of the {len(embeddings)} "
            f"recordings of the {split} split that are used. Look for NaN in its weights, or "
            "export an earlier checkpoint."
        )


def _embed(encoder, part, chosen=None):
    """Embeddings `(recordings, dimensions)` of some recordings, or of all."""
    starts = part.starts()
    chosen = np.arange(len(starts)) if chosen is None else chosen

    def embed(some):  # Whole recordings, so that all their windows never lie in memory at once.
        index, begins = recordings.windows_of(starts, len(part), some)
        windows = stream.batched(index, lambda i: encoder(part.batch(i), training=False))
        return recordings.pooled(windows, begins)

    return stream.batched(chosen, embed)
