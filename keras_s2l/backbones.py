"""Backbones by kind of patch: a small net for notes, AlexNet, one for pictures, one for clips."""

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l.encoders import PatchEncoder
from keras_s2l.normalization import FusedBatchNormalization


def note_backbone(widths=(32, 64, 64, 128, 128), synchronized=False, name="note_backbone"):
    """A small convolutional network for patches of note spectrograms.

    Each block is a 3 x 3 convolution that halves the time and, but for the first, the
    frequency, with batch normalisation and ReLU. It ends in an average over all positions.
    Trains on two CPU cores. (The paper uses AlexNet, of widths that it does not state.)

    Args:
        widths: Channels of each block; the last is the number of features of a patch.
        synchronized: Whether batch normalisation takes its statistics over all replicas of a
            `tf.distribute` strategy, so that they train as one device does.
        name: Name of the model.

    Returns:
        A `keras.Model` from patches `(batch, time, frequency, 1)` of any size to features
        `(batch, widths[-1])`. Its blocks are named `block_1`, `block_2` …

    Raises:
        ValueError: If `widths` are not positive integers.

    Example:
    >>> note_backbone()(np.zeros((2, 98, 6, 1))).shape   # (2, 128)
    """
    _check_widths(1, widths, "(32, 64, 64, 128, 128)")
    x = inputs = keras.Input((None, None, 1), name="patch")
    for number, width in enumerate(widths, start=1):
        x = _block(x, number, width, 3, (2, 1) if number == 1 else (2, 2), synchronized)
    return _averaged_model(inputs, x, name)


def alexnet_backbone(
    channels=1, widths=(96, 256, 384, 384, 256), synchronized=False, name="alexnet_backbone"
):
    """The convolutions of AlexNet, the backbone of the Context-Free Network of the paper.

    Five convolutions, 11 x 11 with stride 4, 5 x 5, and three of 3 x 3, each with batch
    normalisation and ReLU; max pooling 3 x 3 with stride 2 after the first, the second and the
    last. It ends in an average over all positions.

    The paper names AlexNet and states no widths: these are those of Krizhevsky et al., whose two
    groups of channels are one here. Batch normalisation in place of local response normalisation,
    padding at every layer so that no patch is too small, and the average are our choices.

    Together the strides divide each axis by 32, rounding up: an axis that is down to 1 stays 1. A
    patch of 98 x 6 leaves the first block as 25 x 2 and the last pooling as 4 x 1, one of 6 x 60 as
    2 x 15 and 1 x 2. The detail of an axis so short is what the first kernel makes of it. On a CPU
    XLA makes training many times slower: leave `jit_compile` as it is there.

    Args:
        channels: Channels of the patches: 1 for spectrograms, 3 for pictures.
        widths: Channels of the five blocks; the last is the number of features of a patch.
        synchronized: Whether batch normalisation takes its statistics over all replicas of a
            `tf.distribute` strategy, so that they train as one device does.
        name: Name of the model.

    Returns:
        A `keras.Model` from patches `(batch, height, width, channels)` of any size, or
        `(batch, time, frequency, channels)`, to features `(batch, widths[-1])`. Its blocks are
        named `block_1` … `block_5`.

    Raises:
        ValueError: If `widths` are not five positive integers, or `channels` is not one.

    Example:
    >>> alexnet_backbone()(np.zeros((2, 98, 6, 1))).shape   # (2, 256)

    Reference: Krizhevsky et al., 2012, "ImageNet Classification with Deep Convolutional Neural
    Networks"; Noroozi and Favaro, 2016, https://arxiv.org/abs/1603.09246; the paper, section III,
    https://arxiv.org/abs/2103.09879
    """
    kernels = (11, 5, 3, 3, 3)
    _check_widths(channels, widths, "(96, 256, 384, 384, 256)")
    if len(widths) != len(kernels):
        raise ValueError(
            "`widths` must give the channels of five blocks, such as (96, 256, 384, 384, 256). "
            f"Received: widths={widths}"
        )
    x = inputs = keras.Input((None, None, channels), name="patch")
    for number, (width, kernel) in enumerate(zip(widths, kernels), start=1):
        x = _block(x, number, width, kernel, 4 if number == 1 else 1, synchronized)
        if number in (1, 2, 5):
            x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"pooling_{number}")(x)
    return _averaged_model(inputs, x, name)


def image_backbone(
    channels=3, widths=(32, 64, 128, 128), synchronized=False, name="image_backbone"
):
    """A small convolutional network for patches of pictures.

    Each block is a 3 x 3 convolution with batch normalisation and ReLU. The first keeps the size,
    for much of what a small patch shows is a few pixels wide, the others halve it, rounding up: 21
    pixels go down to 11, 6 and 3, and 10 to 5, 3 and 2. It ends in an average over all positions.
    Trains on two CPU cores.

    Args:
        channels: Channels of the patches, 3 for colours.
        widths: Channels of each block; the last is the number of features of a patch.
        synchronized: Whether batch normalisation takes its statistics over all replicas of a
            `tf.distribute` strategy, so that they train as one device does.
        name: Name of the model.

    Returns:
        A `keras.Model` from patches `(batch, height, width, channels)` of any size to features
        `(batch, widths[-1])`. Its blocks are named `block_1`, `block_2` …

    Raises:
        ValueError: If `widths` or `channels` are not positive integers.

    Example:
    >>> image_backbone()(np.zeros((2, 21, 21, 3))).shape   # (2, 128)
    """
    _check_widths(channels, widths, "(32, 64, 128, 128)")
    x = inputs = keras.Input((None, None, channels), name="patch")
    for number, width in enumerate(widths, start=1):
        x = _block(x, number, width, 3, 1 if number == 1 else 2, synchronized)
    return _averaged_model(inputs, x, name)


def clip_backbone(channels=1, widths=(16, 32, 64, 64), synchronized=False, name="clip_backbone"):
    """A small convolutional network in space and time, for patches of clips.

    Each block is a 3 x 3 x 3 convolution that halves height and width, rounding up, and keeps all
    frames, with batch normalisation and ReLU. It ends in an average over all positions and frames.
    Unlike `PerFrame` it sees in which order the frames of a patch come. Trains on two CPU cores;
    XLA makes that many times slower: leave `jit_compile` as it is there.

    Args:
        channels: Channels of the frames: 1 for grey, 3 for colours.
        widths: Channels of each block; the last is the number of features of a patch.
        synchronized: Whether batch normalisation takes its statistics over all replicas of a
            `tf.distribute` strategy, so that they train as one device does.
        name: Name of the model.

    Returns:
        A `keras.Model` from patches `(batch, frames, height, width, channels)` of any size, of one
        frame too, to features `(batch, widths[-1])`. Its blocks are named `block_1`, `block_2` …

    Raises:
        ValueError: If `widths` or `channels` are not positive integers.

    Example:
    >>> clip_backbone()(np.zeros((2, 4, 32, 32, 1))).shape   # (2, 64)
    """
    _check_widths(channels, widths, "(16, 32, 64, 64)")
    x = inputs = keras.Input((None, None, None, channels), name="patch")
    for number, width in enumerate(widths, start=1):
        x = _block(x, number, width, 3, (1, 2, 2), synchronized)
    return _averaged_model(inputs, x, name)


@keras.saving.register_keras_serializable(package="keras_s2l")
class PerFrame(PatchEncoder):
    """Makes a backbone of pictures one of clips: the features of the frames are averaged.

    All frames of the batch go through the backbone together, so batch normalisation takes its
    statistics over all of them. The average does not tell in which order they come; see
    `clip_backbone` for one that sees motion.

    Args:
        backbone: A Keras model or layer from frames `(batch, height, width, channels)` to features.
            If its output has positions, the features are the average over them.

    Input shape: `(batch, frames, height, width, channels)`, of any number of frames from 1 on.
    Output shape: `(batch, features)`.

    Raises:
        ValueError: If `backbone` is no Keras model or layer.

    Example:
    >>> PerFrame(image_backbone())(np.zeros((2, 8, 21, 21, 3))).shape   # (2, 128)
    """

    def call(self, clips, training=None):
        return ops.mean(super().call(clips, training=training), axis=1)

    def compute_output_shape(self, clips_shape):
        batch, _, features = super().compute_output_shape(clips_shape)
        return batch, features


def _check_widths(channels, widths, example):
    _checks.positive_int("channels", channels, "1 for spectrograms and grey, 3 for colours")
    if not isinstance(widths, (tuple, list)) or not widths:
        raise ValueError(
            f"`widths` must give the channels of each block, such as {example}. "
            f"Received: widths={widths}"
        )
    for width in widths:
        _checks.positive_int("widths", width, f"try widths={example}")


def _block(x, number, width, kernel, strides, synchronized):
    """A convolution in two or three dimensions, batch normalisation and ReLU."""
    convolution = keras.layers.Conv3D if len(x.shape) == 5 else keras.layers.Conv2D
    # No bias: the normalisation would take it away again.
    x = convolution(
        width, kernel, strides, padding="same", use_bias=False, name=f"convolution_{number}"
    )(x)
    x = FusedBatchNormalization(synchronized=synchronized, name=f"normalization_{number}")(x)
    return keras.layers.ReLU(name=f"block_{number}")(x)


def _averaged_model(inputs, x, name):
    average = (
        keras.layers.GlobalAveragePooling3D
        if len(x.shape) == 5
        else keras.layers.GlobalAveragePooling2D
    )
    return keras.Model(inputs, average(name="features")(x), name=name)
