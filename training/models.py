"""The front-end and the model of a config."""

import contextlib
import functools

import keras
import tensorflow as tf

import keras_s2l
from training import objectives
from training.contrastive import ContrastiveLearner
from training.errors import UserError
from training.loss_scale import LossScaleOptimizer

# Which axes can be cut, by the kind of an example.
AXES = {
    "audio": ("frequency", "time"),
    "image": ("height", "width"),
    "video": ("frames", "height", "width"),
}


def make_frontend(config):
    """The layer from waveforms to what the model slices; pictures are sliced as they are."""
    return keras_s2l.LogSpectrogram(
        sample_rate=config.sample_rate,
        window_ms=config.window_ms,
        stride_ms=config.stride_ms,
        fft_length=config.fft_length,
        num_mel_bins=config.num_mel_bins,
        floor=config.floor,
        name="log_spectrogram",
    )


def input_shape(config, form):
    """Of what the model slices, with a batch of unknown size."""
    if form.kind != "audio":
        return (None, *form.shape)
    return make_frontend(config).compute_output_shape((None, config.window_samples))


def make_model(config, form):
    """The model of a config, with fresh weights that follow from its seed, built and compiled.

    To be called in the scope of the strategy it is to train under, if there is one.

    Args:
        config: `PretrainConfig`.
        form: What has the `kind` and the `shape` of an example: a `DataSet` or a `Form`.

    Raises:
        UserError: If its settings do not fit each other or the data: patches that do not divide.
    """
    try:
        with _precision(config.precision):
            return _make_model(config, form)
    except ValueError as error:
        raise UserError(str(error)) from error


def _make_model(config, form):
    if not config.grid and config.axis not in AXES[form.kind]:
        raise ValueError(
            f"--axis must be {' or '.join(AXES[form.kind])} where --data={config.data} is "
            f"{form.kind}. Received: --axis={config.axis}"
        )
    shape = input_shape(config, form)
    if form.kind == "audio" and config.max_shift >= shape[1]:
        raise ValueError(
            f"--max_shift must be below the {shape[1]} time steps there are. Received: "
            f"{config.max_shift}"
        )
    keras.utils.set_random_seed(config.seed)
    of_axis = {"num_patches": config.num_patches, "axis": config.axis}
    patches = keras_s2l.Patches(
        **({"grid": config.grid} if config.grid else of_axis),
        remainder=config.remainder,
        gap=config.gap,
        jitter=config.jitter,
        normalize=config.normalize,
        seed=config.seed,
        name="patches",
    )
    backbone = _backbone(config, channels=shape[-1])
    of_both = {
        "patches": patches,
        "hidden_units": config.hidden_units,
        "embedding": config.embedding,
    }
    if objectives.is_contrastive(config):
        model = ContrastiveLearner(backbone, **of_both)
    else:
        permutations = objectives.permutations(config)
        model = keras_s2l.ShuffleToLearn(
            backbone, **of_both, permutations=permutations, seed=config.seed
        )
    model.build(shape)
    model.compile(
        optimizer=_optimizer(config),
        loss=objectives.make_loss(config),
        metrics=objectives.make_metrics(config),
        # Not by default: XLA's convolutions are the slower ones on CPU, 1.5 times here.
        jit_compile=config.jit_compile,
    )
    # Weights files hold the optimizer too; unbuilt, it would skip them with a mere warning.
    model.optimizer.build(model.trainable_variables)
    return model


def _optimizer(config):
    adam = keras.optimizers.Adam(learning_rate(config))
    return LossScaleOptimizer(adam) if config.precision == "mixed_float16" else adam


@contextlib.contextmanager
def _precision(name):
    """Layers that are made within compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def learning_rate(config):
    """The learning rate of a config: a number, or a schedule of the optimizer's steps."""
    highest, warmup = config.learning_rate, config.warmup_steps
    schedules = keras.optimizers.schedules
    if config.schedule == "cosine":
        start = (0.0, highest) if warmup else (highest, None)
        return schedules.CosineDecay(
            start[0], config.steps - warmup, warmup_target=start[1], warmup_steps=warmup
        )
    return schedules.PolynomialDecay(0.0, warmup, highest) if warmup else highest


def _backbone(config, channels):
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    make = {
        "note": keras_s2l.note_backbone,
        "alexnet": functools.partial(keras_s2l.alexnet_backbone, channels),
        "image": functools.partial(keras_s2l.image_backbone, channels),
        "clip": functools.partial(keras_s2l.clip_backbone, channels),
    }
    return make[config.backbone](synchronized=several)
