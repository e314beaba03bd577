"""Backbones against NumPy, inside the model they are for, and those that others made."""

import itertools
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2l import ShuffleToLearn
from keras_s2l.backbones import (
    PerFrame,
    alexnet_backbone,
    clip_backbone,
    image_backbone,
    note_backbone,
)
from tests.layer_checks import MODES, check_layer, run
from tests.replicas import run_on_two_replicas

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Strides of the convolutions, and after which blocks there is pooling.
LAYOUTS = {
    "note": (((2, 1), (2, 2), (2, 2)), ()),
    "alexnet": ((4, 1, 1, 1, 1), (1, 2, 5)),
    "image": ((1, 2, 2), ()),
    "clip": (((1, 2, 2),) * 3, ()),
}


def small(kind):
    """A narrow backbone, and a batch of whole inputs for three patches of it."""
    if kind == "note":
        return note_backbone(widths=(4, 6, 8)), "frequency", (17, 18, 1)
    if kind == "alexnet":
        return alexnet_backbone(widths=(4, 6, 8, 5, 7)), "frequency", (17, 18, 1)
    if kind == "image":
        return image_backbone(widths=(4, 6, 8)), "height", (30, 10, 3)
    if kind == "clip":
        return clip_backbone(widths=(4, 6, 8)), "frames", (6, 12, 12, 1)
    if kind == "per_frame":
        return PerFrame(image_backbone(1, (4, 6, 8))), "frames", (6, 12, 12, 1)
    if kind == "sequential":
        layers = [keras.layers.Conv2D(5, 3, name="edges"), keras.layers.GlobalMaxPooling2D()]
        return keras.Sequential([keras.Input((10, 10, 3)), *layers]), "height", (30, 10, 3)
    application = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )
    return application, "height", (96, 32, 3)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def windows(x, kernel, strides, fill):
    """What a layer with `padding="same"` sees: `(batch, *positions, channels, *kernel)`."""
    widths = []
    for size, length, stride in zip(x.shape[1:-1], kernel, strides):
        missing = max((-(-size // stride) - 1) * stride + length - size, 0)
        widths.append((missing // 2, missing - missing // 2))
    x = np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=fill)
    axes = tuple(range(1, x.ndim - 1))
    seen = np.lib.stride_tricks.sliding_window_view(x, kernel, axes)
    return seen[(slice(None), *(slice(None, None, stride) for stride in strides))]


def in_numpy(backbone, x, strides, pooled):
    """Features of patches `x`, layer by layer, as in inference."""
    rank = x.ndim - 2
    for number, stride in enumerate(strides, start=1):
        stride = stride if isinstance(stride, tuple) else (stride,) * rank
        kernel = np.asarray(backbone.get_layer(f"convolution_{number}").kernel, "float64")
        seen = windows(x, kernel.shape[:rank], stride, 0.0)
        x = np.tensordot(np.moveaxis(seen, rank + 1, -1), kernel, rank + 1)
        normalization = backbone.get_layer(f"normalization_{number}")
        gamma, beta, mean, variance = (np.asarray(w, "float64") for w in normalization.weights)
        x = (x - mean) / np.sqrt(variance + normalization.epsilon) * gamma + beta
        x = np.maximum(x, 0.0)
        if number in pooled:
            seen = windows(x, (3,) * rank, (2,) * rank, -np.inf)
            x = seen.max(axis=tuple(range(-rank, 0)))
    return x.mean(axis=tuple(range(1, rank + 1)))


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *[("note", size) for size in [(98, 6), (30, 12), (7, 1), (1, 1), (98, 51)]],
        *[("alexnet", size) for size in [(98, 6), (6, 60), (1, 1), (37, 41)]],
        *[("image", size) for size in [(21, 21), (10, 10), (1, 1), (5, 8)]],
        *[("clip", size) for size in [(1, 9, 12), (4, 8, 7), (3, 1, 1)]],
    ],
)
def test_features_are_those_of_numpy_for_patches_of_any_size(kind, size):
    keras.utils.set_random_seed(0)
    backbone = small(kind)[0]
    for number, weight in enumerate(backbone.weights):
        if weight.name != "kernel":  # Of a normalisation: else it does nothing yet.
            weight.assign(np.exp(0.3 * normal(*weight.shape, seed=number)))
    patches = normal(3, *size, backbone.input_shape[-1])
    features = np.asarray(backbone(patches))
    np.testing.assert_allclose(
        features, in_numpy(backbone, patches, *LAYOUTS[kind]), rtol=1e-4, atol=1e-5
    )
    assert features.shape == backbone.compute_output_shape(patches.shape)
    assert backbone.output_shape == (None, features.shape[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_alexnet_has_the_convolutions_of_alexnet(channels):
    backbone = alexnet_backbone(channels)
    kernels = [tuple(w.shape) for w in backbone.weights if w.name == "kernel"]
    first, rest = kernels[0], kernels[1:]
    assert first == (11, 11, channels, 96)
    assert rest == [(5, 5, 96, 256), (3, 3, 256, 384), (3, 3, 384, 384), (3, 3, 384, 256)]
    convolutions = 11**2 * channels * 96 + 5**2 * 96 * 256 + 3**2 * (256 + 384 + 256) * 384
    assert backbone.count_params() == convolutions + 4 * (96 + 256 + 384 + 384 + 256)


@pytest.mark.parametrize(
    ("make", "kernel", "widths"),
    [
        (note_backbone, 3**2, (1, 32, 64, 64, 128, 128)),
        (image_backbone, 3**2, (3, 32, 64, 128, 128)),
        (clip_backbone, 3**3, (1, 16, 32, 64, 64)),
    ],
)
def test_the_small_nets_have_as_many_parameters_as_their_widths_say(make, kernel, widths):
    convolutions = sum(kernel * i * o for i, o in itertools.pairwise(widths))
    assert make().count_params() == convolutions + 4 * sum(widths[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": ()}, "`widths` must give the channels of each block"),
        ({"widths": 32}, "`widths` must give the channels of each block"),
        ({"widths": (8, 0)}, "`widths` must be a positive integer"),
        ({"channels": 0}, "`channels` must be a positive integer"),
    ],
)
@pytest.mark.parametrize("make", [alexnet_backbone, image_backbone, clip_backbone])
def test_widths_and_channels_that_make_no_layer_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("widths", [(), 32, (8, 0)])
def test_widths_that_make_no_layer_of_the_note_backbone_are_refused(widths):
    with pytest.raises(ValueError, match="`widths` must"):
        note_backbone(widths)


def test_alexnet_has_five_blocks():
    with pytest.raises(ValueError, match="`widths` must give the channels of five blocks"):
        alexnet_backbone(widths=(8, 8, 8))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_per_frame_is_the_mean_over_frames_taken_one_by_one(frames):
    keras.utils.set_random_seed(0)
    backbone = image_backbone(widths=(4, 6))
    clips = normal(3, frames, 7, 6, 3)
    one_by_one = [np.asarray(backbone(clips[:, frame])) for frame in range(frames)]
    np.testing.assert_allclose(
        PerFrame(backbone)(clips), np.mean(one_by_one, axis=0), rtol=1e-5, atol=1e-6
    )


def test_per_frame_averages_the_positions_that_a_backbone_leaves():
    convolution = keras.layers.Conv2D(5, 3)
    clips = normal(2, 4, 7, 6, 3)
    features = PerFrame(convolution)(clips)
    maps = np.asarray(convolution(clips.reshape(8, 7, 6, 3))).reshape(2, 4, 5, 4, 5)
    np.testing.assert_allclose(features, maps.mean(axis=(1, 2, 3)), atol=1e-5)


def test_per_frame_passes_what_every_layer_must(tmp_path):
    backbone = image_backbone(widths=(4, 6))
    check_layer(PerFrame(backbone), normal(3, 2, 7, 6, 3), tmp_path, mixed_dtype="float32")


@pytest.mark.parametrize("mode", MODES)
def test_per_frame_takes_batches_of_unknown_size(mode):
    keras.utils.set_random_seed(0)
    layer, clips = PerFrame(image_backbone(widths=(4, 6))), normal(3, 4, 7, 6, 3)
    np.testing.assert_allclose(run(layer, clips, mode), layer(clips), rtol=1e-4, atol=1e-5)


def test_per_frame_takes_clips_of_unknown_length_and_size():
    layer = PerFrame(image_backbone(widths=(4, 6)))
    inputs = keras.Input((None, None, None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, 6)
    for clips in (normal(3, 4, 7, 6, 3), normal(2, 1, 5, 9, 3)):
        np.testing.assert_allclose(model.predict(clips, verbose=0), layer(clips), atol=1e-5)


def test_per_frame_refuses_what_is_no_layer():
    with pytest.raises(ValueError, match="`backbone` must be a Keras model or layer"):
        PerFrame("resnet")


APPLICATION = pytest.param("application", marks=pytest.mark.slow)
OURS = ("alexnet", "image", "clip", "per_frame")
LEVELS = {  # A layer such as `PerFrame` has none; those of others must be named.
    "alexnet": ("block_3", "block_4"),
    "image": ("block_1", "block_2"),
    "clip": ("block_1", "block_2"),
    "sequential": ("edges",),
    "application": ("block_3_expand_relu", "block_6_expand_relu"),
}


@pytest.mark.parametrize("kind", [*OURS, "sequential", APPLICATION])
def test_two_steps_of_fit_move_every_weight_and_the_embeddings_are_finite(kind):
    keras.utils.set_random_seed(0)
    backbone, axis, shape = small(kind)
    named = None if kind in OURS else LEVELS[kind]
    model = ShuffleToLearn(
        backbone, num_patches=3, axis=axis, hidden_units=16, levels=named, seed=0
    )
    x = normal(8, *shape)
    model.build(x.shape)
    before = model.get_weights()
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    assert np.isfinite(model.fit(x, batch_size=4, verbose=0).history["loss"][0])
    for weight, old in zip(model.weights, before):
        if "seed" not in weight.path:
            assert np.isfinite(weight).all() and np.any(weight != old), weight.path
    features = backbone.compute_output_shape(model.patches.compute_output_shape(x.shape)[1:])[-1]
    sizes = {"patches": 3 * features, "fc": 16}
    if kind in LEVELS:
        channels = [backbone.get_layer(level).output.shape[-1] for level in LEVELS[kind]]
        sizes["levels"] = 3 * (sum(channels) + features)
    for embedding, size in sizes.items():
        embeddings = np.asarray(model.encoder_for(embedding)(x))
        assert embeddings.shape == (8, size) and np.isfinite(embeddings).all()
    assert model.embedding == ("levels" if kind in LEVELS else "patches")


@pytest.mark.parametrize("kind", OURS)
def test_the_gradient_reaches_every_weight(kind):
    keras.utils.set_random_seed(0)
    backbone, _, shape = small(kind)
    with tf.GradientTape() as tape:
        features = backbone(normal(6, *shape), training=True)
        loss = tf.reduce_sum(features * normal(*features.shape, seed=1))
    gradients = tape.gradient(loss, [weight.value for weight in backbone.trainable_weights])
    for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path


@pytest.mark.parametrize("kind", OURS)
def test_a_step_normalises_by_the_statistics_of_all_patches_of_the_batch(kind):
    keras.utils.set_random_seed(0)
    backbone, axis, shape = small(kind)
    model = ShuffleToLearn(backbone, num_patches=3, axis=axis, hidden_units=16, seed=0)
    x = normal(8, *shape)
    model.build(x.shape)
    network = backbone.backbone if kind == "per_frame" else backbone
    normalizations = [
        layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in normalizations:
        layer.momentum = 0.0
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    model.fit(x, batch_size=8, verbose=0)
    moved = [(np.array(n.moving_mean), np.array(n.moving_variance)) for n in normalizations]
    sliced = {"frequency": 2, "height": 1, "frames": 1}[axis]
    patches = np.concatenate(np.split(x, 3, axis=sliced))
    if kind == "per_frame":
        patches = patches.reshape(-1, *shape[1:])
    for layer, (mean, variance) in zip(normalizations, moved, strict=True):
        seen = np.asarray(keras.Model(network.input, layer.input)(patches, training=True))
        seen = seen.reshape(-1, seen.shape[-1]).astype("float64")
        np.testing.assert_allclose(mean, seen.mean(axis=0), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(variance, seen.var(axis=0), rtol=1e-3)


@pytest.mark.parametrize("kind", [*OURS, "sequential", APPLICATION])
def test_saved_in_a_model_it_comes_back_the_same(kind, tmp_path):
    backbone, axis, shape = small(kind)
    model = ShuffleToLearn(backbone, num_patches=3, axis=axis, hidden_units=16)
    x = normal(2, *shape)
    scores = np.asarray(model(x))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), scores)


@pytest.mark.parametrize("kind", OURS)
def test_in_mixed_precision_the_features_are_nearly_the_same(kind):
    x = normal(6, *small(kind)[2])
    keras.utils.set_random_seed(0)
    exact = np.asarray(small(kind)[0](x, training=True))
    previous = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        keras.utils.set_random_seed(0)
        backbone, axis, _ = small(kind)
        features = backbone(x, training=True)
        assert features.dtype == "bfloat16"
        np.testing.assert_allclose(np.asarray(features, "float32"), exact, atol=0.05)
        model = ShuffleToLearn(backbone, num_patches=3, axis=axis, hidden_units=16)
        model.compile(jit_compile=False)
        assert np.isfinite(model.fit(x, verbose=0).history["loss"][0])
    finally:
        keras.mixed_precision.set_dtype_policy(previous)


ON_JAX = """
import sys
sys.modules["tensorflow"] = None
import keras, numpy as np, keras_s2l.backbones
for path in sys.argv[1:]:
    patches = np.load(path + ".npy")
    np.save(path + "_features.npy", keras.saving.load_model(path + ".keras")(patches))
"""


@pytest.mark.slow
def test_features_are_the_same_on_jax(tmp_path):
    paths, features = [], []
    for kind in OURS:
        backbone, _, shape = small(kind)
        inputs = keras.Input(shape)
        model, patches = keras.Model(inputs, backbone(inputs)), normal(3, *shape)
        paths.append(str(tmp_path / kind))
        features.append(np.asarray(model(patches)))
        model.save(f"{paths[-1]}.keras")
        np.save(f"{paths[-1]}.npy", patches)
    output = subprocess.run(
        [sys.executable, "-c", ON_JAX, *paths],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert output.returncode == 0, output.stderr
    for path, expected in zip(paths, features):
        np.testing.assert_allclose(np.load(f"{path}_features.npy"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_replicas_of_a_strategy_train_on_clips():
    run_on_two_replicas("""
        from keras_s2l.backbones import PerFrame, clip_backbone, image_backbone
        x = np.random.default_rng(0).random((8, 6, 12, 12, 1)).astype("float32")
        for make in (lambda: PerFrame(image_backbone(1, (4, 6))), lambda: clip_backbone(1, (4, 6))):
            with strategy.scope():
                model = keras_s2l.ShuffleToLearn(make(), num_patches=3, axis="frames", seed=1)
                model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
            assert np.isfinite(model.fit(x, batch_size=4, verbose=0).history["loss"]).all()
    """)
