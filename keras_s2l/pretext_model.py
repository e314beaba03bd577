"""What every pretext task over patches shares: the slicer, the network, the encoder to keep."""

import keras

from keras_s2l import _checks, encoders
from keras_s2l._nested import restored
from keras_s2l.multi_worker import MultiWorkerFit
from keras_s2l.patches import Patches

EMBEDDINGS = ("levels", "positions", "patches", "fc")
# How many blocks before the last join. Averages of earlier ones say little more than how loud a
# patch is; at its positions they tell best where in the patch something is.
BLOCKS = {"levels": 2, "positions": 3}


class PretextModel(MultiWorkerFit, keras.Model):
    """A Context-Free Network over the patches of its inputs, and the encoder that it leaves.

    A subclass makes the task: what it trains on, and with which loss. `model(x)` gives the outputs
    of the network for the patches as they stand.

    Args:
        backbone: A Keras model or layer from `(batch, *patch_shape)` to features, shared by all
            patches.
        num_outputs: Of the network; `None` for one for each patch.
        num_patches, axis, remainder, patches, hidden_units, embedding, levels: As for
            `ShuffleToLearn`.

    Input shape: any that `Patches` can slice. Output shape: `(batch, num_outputs)`.
    """

    def __init__(
        self,
        backbone,
        num_outputs=None,
        num_patches=None,
        axis=None,
        remainder="error",
        patches=None,
        hidden_units=256,
        embedding=None,
        levels=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        if patches is None:
            patches = Patches(num_patches, axis, remainder, dtype=dtype, name="patches")
        elif not isinstance(patches, Patches) or num_patches is not None or axis is not None:
            raise ValueError(
                "`patches` must be a `Patches` layer, in place of `num_patches` and `axis`. "
                f"Received: patches={patches!r}, num_patches={num_patches}, axis={axis!r}"
            )
        self.patches = patches
        # Named so as to be saved before `encoder`, which shares its layers: files of weights are
        # the same whatever the embedding.
        self.context_free_network = encoders.ContextFreeNetwork(
            backbone, hidden_units, num_outputs, dtype=dtype, name="context_free_network"
        )
        self.levels = {
            name: tuple(encoders.level_names(backbone, count) if levels is None else levels)
            for name, count in BLOCKS.items()
        }
        if embedding is None:
            embedding = "levels" if self.levels["levels"] else "patches"
        self.embedding = self._known(embedding)
        if levels is not None or embedding in BLOCKS:
            # Refuses unknown names now, not at the end.
            encoders.with_levels(backbone, self.levels["levels"])
        self._config = {
            "hidden_units": hidden_units,
            "embedding": embedding,
            "levels": None if levels is None else list(levels),
        }
        self._encoders = _Untracked()

    def build(self, input_shape):
        self._input_shape = tuple(input_shape)
        self.context_free_network.build(self.patches.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs, training=None):
        return self.context_free_network(self.patches(inputs, training=training), training=training)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def embeddings(self):
        """Names of the embeddings that there are: those of levels where the levels are known."""
        cut_along_one = len(self.patches.counts) == 1
        return tuple(
            name
            for name in EMBEDDINGS
            if self.levels.get(name, True) and (name != "positions" or cut_along_one)
        )

    @property
    def encoder(self):
        """The encoder of unshuffled inputs, a functional `keras.Model` that shares our weights."""
        return self.encoder_for(self.embedding)

    def encoder_for(self, embedding):
        """The encoder that gives `embedding`, one of `embeddings`.

        Returns:
            A functional `keras.Model` from inputs to `(batch, dimensions)`, sharing our weights.

        Raises:
            ValueError: If `embedding` is unknown, the levels are, or the model has not been built.
        """
        self._known(embedding)
        if not self.built:
            raise ValueError(
                "The encoder exists once the model knows the shape of its inputs: call `fit`, or "
                "`build((None, time, frequency, 1))`, first"
            )
        if embedding not in self._encoders.by_embedding:
            self._encoders.by_embedding[embedding] = self._make_encoder(embedding)
        return self._encoders.by_embedding[embedding]

    def _known(self, embedding):
        """An embedding, if it is known and the patches allow it."""
        _checks.one_of("embedding", embedding, EMBEDDINGS)
        if embedding == "positions" and len(self.patches.counts) > 1:
            raise ValueError(
                '`embedding="positions"` needs patches along one axis, whose positions it keeps. '
                f"Received: grid={self.patches.counts}"
            )
        return embedding

    def _make_encoder(self, embedding):
        network = self.context_free_network
        inputs = keras.Input(self._input_shape[1:], name="input")
        patches = self.patches(inputs)
        if embedding in BLOCKS:
            positions = None
            if embedding == "positions":
                positions = patches.shape[2:], self.patches.cut_axis(len(inputs.shape))
            backbone = network.patch_encoder.backbone
            with_levels = encoders.with_levels(backbone, self.levels[embedding], positions)
            features = encoders.PatchEncoder(with_levels, name="patch_encoder")(patches)
        else:
            features = network.patch_encoder(patches)
        outputs = network.concatenate(features)
        if embedding == "fc":
            outputs = network.fully_connected(outputs)
        return keras.Model(inputs, outputs, name=f"encoder_{embedding}")

    def get_config(self):
        backbone = self.context_free_network.patch_encoder.backbone
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(backbone),
            "patches": keras.saving.serialize_keras_object(self.patches),
            **self._config,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, "dtype", "backbone", "patches"))


class _Untracked:
    """Holds models that share our layers, out of sight of Keras' tracking of sublayers."""

    def __init__(self):
        self.by_embedding = {}
