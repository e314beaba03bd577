"""Networks over patches: a backbone shared by all of them, then all of them together."""

import re

import keras
from keras import ops

from keras_s2l import _checks
from keras_s2l._nested import restored


def level_names(backbone, count):
    """Names of so many blocks before the last of one of our own backbones; empty for any other."""
    # A `Sequential` that is not built yet has no `inputs`: it cannot be cut either.
    layers = backbone.layers if getattr(backbone, "inputs", None) else []
    blocks = [layer.name for layer in layers if re.fullmatch(r"block_\d+", layer.name)]
    return tuple(blocks[-1 - count : -1])


def with_levels(backbone, levels, positions=None):
    """The backbone, with the average activation of earlier layers beside its features.

    Args:
        backbone: A built Sequential or functional `keras.Model`.
        levels: Names of its layers.
        positions: `None` to average over all positions, or the shape of a patch and the number of
            an axis, counted from the batch's: then the levels keep their positions along it.

    Returns:
        A `keras.Model` that shares the layers of `backbone`, from patches to the features of all
        levels, `(batch, channels of every level + features)`; with positions so many of each
        level's channels.

    Raises:
        ValueError: If `levels` is empty or names a layer that the backbone does not have.
    """
    known = [layer.name for layer in getattr(backbone, "layers", [])]
    if known and not getattr(backbone, "outputs", None):
        raise ValueError(
            "`levels` need a backbone that knows its input: begin it with "
            f"`keras.Input(patch_shape)`. Received: {backbone!r}"
        )
    unknown = [level for level in levels if level not in known]
    if unknown or not levels:
        raise ValueError(
            "`levels` must name layers of the backbone whose activations join the embedding. Known "
            f"layers: {known}. Received: levels={list(levels)}"
        )
    outputs = [*(backbone.get_layer(level).output for level in levels), backbone.outputs[0]]
    inputs, kept = backbone.inputs[0], None
    if positions is not None:
        shape, kept = positions
        inputs = keras.Input(shape, name="patch")  # Of this size, so that positions are counted.
        outputs = keras.Model(backbone.inputs[0], outputs, name=f"{backbone.name}_cut")(inputs)
    averages = [_averaged(activations, kept) for activations in outputs]
    features = keras.layers.Concatenate(name="levels")(averages)
    return keras.Model(inputs, features, name=f"{backbone.name}_levels")


def _averaged(activations, kept=None):
    """Mean over positions: `(batch, ..., channels)` to `(batch, channels)`.

    With an axis that is kept, to `(batch, positions along it * channels)`.
    """
    averaged = tuple(axis for axis in range(1, len(activations.shape) - 1) if axis != kept)
    means = ops.mean(activations, axis=averaged) if averaged else activations
    return keras.layers.Flatten()(means) if len(means.shape) > 2 else means


@keras.saving.register_keras_serializable(package="keras_s2l")
class PatchEncoder(keras.layers.Layer):
    """Applies one backbone to every patch, with the same weights for all.

    Patches are folded into the batch, so batch normalisation inside the backbone takes its
    statistics over all patches of all examples.

    Args:
        backbone: A Keras model or layer from `(batch, *patch_shape)` to features. If its output has
            positions (height, width, time), the features are the average over them.

    Input shape: `(batch, num_patches, *patch_shape)`.
    Output shape: `(batch, num_patches, features)`.

    Raises:
        ValueError: If `backbone` is not a Keras model or layer, or gives several tensors.

    Example:
    >>> PatchEncoder(note_backbone())(np.zeros((2, 10, 98, 6, 1))).shape   # (2, 10, 128)

    Reference: Noroozi and Favaro, 2016, the Context-Free Network, https://arxiv.org/abs/1603.09246
    """

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(backbone, keras.layers.Layer):
            raise ValueError(
                "`backbone` must be a Keras model or layer, for example `note_backbone()`. "
                f"Received: backbone={backbone!r}"
            )
        self.backbone = backbone

    def build(self, patches_shape):
        # Called, not built: what has no `build` of its own makes its weights in `call`.
        features = self.backbone(self._one_by_one(patches_shape))
        if not isinstance(features, keras.KerasTensor) or len(features.shape) < 2:
            raise ValueError(
                "`backbone` must give one tensor of features, (batch, ..., features). Received: a "
                f"backbone that gives {features}"
            )
        super().build(patches_shape)

    def _one_by_one(self, patches_shape):
        """What the backbone sees, without values."""
        return keras.KerasTensor((None, *patches_shape[2:]), dtype=self.compute_dtype)

    def call(self, patches, training=None):
        sizes = tuple(ops.shape(patches))
        folded = ops.reshape(patches, (-1, *sizes[2:]))
        features = _averaged(self.backbone(folded, training=training))
        return ops.reshape(features, (-1, sizes[1], features.shape[-1]))

    def compute_output_shape(self, patches_shape):
        features = self.backbone.compute_output_spec(self._one_by_one(patches_shape))
        return (*patches_shape[:2], features.shape[-1])

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone}

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "backbone"))


@keras.saving.register_keras_serializable(package="keras_s2l")
class ContextFreeNetwork(keras.layers.Layer):
    """Scores patches: the backbone patch by patch, then two fully connected layers over them all.

    Args:
        backbone: As for `PatchEncoder`.
        hidden_units: Width of the first fully connected layer, the embedding of the paper (which
            does not state it).
        num_outputs: Number of scores; `None` for one for each patch.

    Input shape: `(batch, num_patches, *patch_shape)`. Output shape: `(batch, num_outputs)` scores.

    Reference: the paper, section III; Noroozi and Favaro, 2016, https://arxiv.org/abs/1603.09246
    """

    def __init__(self, backbone, hidden_units=256, num_outputs=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = _checks.positive_int("hidden_units", hidden_units, "try 256")
        self.num_outputs = num_outputs
        dtype = self.dtype_policy
        self.patch_encoder = PatchEncoder(backbone, dtype=dtype, name="patch_encoder")
        self.concatenate = keras.layers.Flatten(dtype=dtype, name="concatenate")
        # Its activation is apart: at the identity many units are off, and what they hold with them.
        self.fully_connected = keras.layers.Dense(hidden_units, dtype=dtype, name="fc")
        self.activation = keras.layers.ReLU(dtype=dtype, name="relu")

    def build(self, patches_shape):
        self.patch_encoder.build(patches_shape)
        features_shape = self.patch_encoder.compute_output_shape(patches_shape)
        self.fully_connected.build((None, features_shape[1] * features_shape[2]))
        # Half precision would turn scores that differ into ties.
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self.score = keras.layers.Dense(
            self.num_outputs or patches_shape[1], dtype=dtype, name="score"
        )
        self.score.build((None, self.hidden_units))
        super().build(patches_shape)

    def call(self, patches, training=None):
        return self.score(self.activation(self.embedded(patches, training=training)))

    def embedded(self, patches, training=None):
        """The first fully connected layer, `(batch, hidden_units)`, before its activation."""
        features = self.patch_encoder(patches, training=training)
        return self.fully_connected(self.concatenate(features))

    def compute_output_shape(self, patches_shape):
        return (patches_shape[0], self.num_outputs or patches_shape[1])

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.patch_encoder.backbone)
        own = {"hidden_units": self.hidden_units, "num_outputs": self.num_outputs}
        return {**super().get_config(), "backbone": backbone, **own}

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "backbone"))
