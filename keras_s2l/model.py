"""The one file that wires all stages: a Keras model that learns by putting patches in order."""

import keras
import numpy as np
from keras import ops

from keras_s2l import _checks, encoders
from keras_s2l._seeds import load_state, save_state
from keras_s2l.losses import FenchelYoungRankLoss, PermutationCrossEntropy
from keras_s2l.metrics import PatchAccuracy
from keras_s2l.patches import Patches
from keras_s2l.ranking.hard_rank import hard_rank
from keras_s2l.shuffle import PatchShuffle, shuffle_patches, unshuffle_patches

LOSS_SEED = "loss_seed_generator_state"
EMBEDDINGS = ("levels", "patches", "fc")


@keras.saving.register_keras_serializable(package="keras_s2l")
class ShuffleToLearn(keras.Model):
    """Self-supervised pre-training: shuffled patches are put back in order.

    `fit` takes unlabelled examples `x`, or `(x, order)` when the input pipeline drew the orders
    itself; an order is a permutation for each example, `(batch, num_patches)`. Patches are shuffled
    in training and test steps only: `model(x)` scores the patches as they stand. `evaluate` uses
    the same orders every time, for the same examples in batches of the same size. `model.encoder`
    is what to keep.

    Args:
        backbone: A Keras model or layer from `(batch, *patch_shape)` to features, shared by all
            patches: `note_backbone()`, one of `keras.applications`, or your own.
        num_patches, axis, remainder: As for `Patches`.
        patches: In place of these a `Patches` layer, for a grid, gaps, jitter or normalisation.
        hidden_units: Width of the first fully connected layer over all patches.
        embedding: What `model.encoder` gives. `"fc"`: the first fully connected layer, as in the
            paper. `"patches"`: the last features of all patches. `"levels"`: those, and the average
            activations of earlier layers of the backbone for each patch. `None` is `"levels"` where
            the levels are known (`note_backbone`, or `levels` given), else `"patches"`.
        levels: Names of the backbone's layers that join the embedding `"levels"`. `None` takes the
            two blocks before the last of our own backbones; for any other backbone name them.
        permutations: `None` to shuffle by any permutation, or a set of them, integers
            `(num_permutations, num_patches)`: then the network tells which one of the set it was,
            the baseline of Noroozi and Favaro. See `fixed_permutations`.
        seed: Integer from which the permutations follow, or `None` for one drawn at random.

    Input shape: any that `Patches` can slice. Output shape: `(batch, num_patches)` scores, the
    lowest for the patch that belongs first; with `permutations` `(batch, num_permutations)` logits.

    Raises:
        ValueError: If an argument is unknown or does not fit the backbone.

    Example:
    >>> spectrograms = np.random.rand(64, 98, 60, 1).astype("float32")   # Yours.
    >>> model = ShuffleToLearn(note_backbone(), num_patches=10, axis="frequency")
    >>> model.compile(optimizer="adam")
    >>> model.fit(spectrograms, epochs=20)
    >>> model.encoder.predict(spectrograms)

    Reference: Carr et al., 2021, https://arxiv.org/abs/2103.09879
    """

    def __init__(
        self,
        backbone,
        num_patches=None,
        axis=None,
        remainder="error",
        patches=None,
        hidden_units=256,
        embedding=None,
        levels=None,
        permutations=None,
        seed=None,
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
        self.shuffle = PatchShuffle(seed, permutations, dtype=dtype, name="shuffle")
        self.evaluation_shuffle = PatchShuffle(
            0, permutations, dtype=dtype, name="evaluation_shuffle"
        )
        # Named so as to be saved before `encoder`, which shares its layers: files of weights are
        # the same whatever the embedding.
        self.context_free_network = encoders.ContextFreeNetwork(
            backbone,
            hidden_units,
            num_outputs=None if permutations is None else len(permutations),
            dtype=dtype,
            name="context_free_network",
        )
        self.levels = tuple(encoders.level_names(backbone) if levels is None else levels)
        if embedding is None:
            embedding = "levels" if self.levels else "patches"
        self.embedding = _checks.one_of("embedding", embedding, EMBEDDINGS)
        if levels is not None or embedding == "levels":
            encoders.with_levels(
                backbone, self.levels
            )  # Refuses unknown names now, not at the end.
        self._config = {
            "hidden_units": hidden_units,
            "embedding": embedding,
            "levels": None if levels is None else list(levels),
            "permutations": None if permutations is None else np.asarray(permutations).tolist(),
            "seed": seed,
        }
        self._encoders = _Untracked()

    def build(self, input_shape):
        if isinstance(input_shape, dict):  # Of a training or test step.
            input_shape = input_shape["input"]
        self._input_shape = tuple(input_shape)
        self.context_free_network.build(self.patches.compute_output_shape(input_shape))
        self.built = True

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """As `keras.Model.compile`, with defaults for the task.

        Args:
            optimizer: A Keras optimizer or its name.
            loss: Any loss called as `loss(order, scores)`; `None` is `FenchelYoungRankLoss()`, with
                a set of permutations `PermutationCrossEntropy`.
            metrics: Metrics called as `metric(order, scores)`; `None` is `[PatchAccuracy()]`. With
                a set of permutations the scores are the places in the likeliest one.
            **kwargs: Of `keras.Model.compile`.
        """
        if loss is None and self.permutations is None:
            loss = FenchelYoungRankLoss()
        elif loss is None:
            loss = PermutationCrossEntropy(self.permutations)
        metrics = [PatchAccuracy()] if metrics is None else metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def permutations(self):
        """The set to draw from, int32 `(num_permutations, num_patches)`; `None` for all."""
        return self.shuffle.permutations

    def call(self, inputs, training=None):
        if not isinstance(inputs, dict):
            return self.context_free_network(self.patches(inputs), training=training)
        # The pretext task, from `train_step` or `test_step`: the label comes out with the scores.
        shuffle = self.shuffle if training else self.evaluation_shuffle
        patches = self.patches(inputs["input"], training=training)
        shuffled, order = shuffle(patches, inputs.get("order"))
        return {
            "order": order,
            "scores": self.context_free_network(shuffled, training=training),
        }

    def train_step(self, *state_and_data):  # JAX passes a state before the data.
        *state, data = state_and_data
        return super().train_step(*state, self._pretext_task(data))

    def test_step(self, *state_and_data):
        *state, data = state_and_data
        return super().test_step(*state, self._pretext_task(data))

    def _pretext_task(self, data):
        x, order, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        task = {"input": x}
        if order is not None:
            if len(order.shape) != 2 or order.shape[1] not in (None, self.patches.num_patches):
                raise ValueError(
                    "`fit` and `evaluate` take examples alone, or examples and their orders of "
                    f"shape (batch, {self.patches.num_patches}). Received: a label of shape "
                    f"{tuple(order.shape)}"
                )
            task["order"] = order
        return task, None, sample_weight

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        order, scores = _order_and_scores(y, y_pred)
        return super().compute_loss(x, order, scores, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        order, scores = _order_and_scores(y, y_pred)
        return super().compute_metrics(x, order, self._places(scores), sample_weight)

    def _places(self, scores):
        """What orders the patches: scores, or their places in the likeliest permutation."""
        if self.permutations is None:
            return scores
        likeliest = ops.take(self.permutations, ops.argmax(scores, axis=-1), axis=0)
        return ops.cast(likeliest, scores.dtype)

    def evaluate(self, *args, **kwargs):
        self.evaluation_shuffle.reset()
        return super().evaluate(*args, **kwargs)

    @property
    def encoder(self):
        """The encoder of unshuffled inputs, a functional `keras.Model` that shares our weights."""
        return self.encoder_for(self.embedding)

    def encoder_for(self, embedding):
        """The encoder that gives `embedding`: `"levels"`, `"patches"` or `"fc"`.

        Returns:
            A functional `keras.Model` from inputs to `(batch, dimensions)`, sharing our weights.

        Raises:
            ValueError: If `embedding` is unknown, the levels are, or the model has not been built.
        """
        _checks.one_of("embedding", embedding, EMBEDDINGS)
        if not self.built:
            raise ValueError(
                "The encoder exists once the model knows the shape of its inputs: call `fit`, or "
                "`build((None, time, frequency, 1))`, first"
            )
        if embedding not in self._encoders.by_embedding:
            self._encoders.by_embedding[embedding] = self._make_encoder(embedding)
        return self._encoders.by_embedding[embedding]

    def _make_encoder(self, embedding):
        network = self.context_free_network
        inputs = keras.Input(self._input_shape[1:], name="input")
        patches = self.patches(inputs)
        if embedding == "levels":
            with_levels = encoders.with_levels(network.patch_encoder.backbone, self.levels)
            features = encoders.PatchEncoder(with_levels, name="patch_encoder")(patches)
        else:
            features = network.patch_encoder(patches)
        outputs = network.concatenate(features)
        if embedding == "fc":
            outputs = network.fully_connected(outputs)
        return keras.Model(inputs, outputs, name=f"encoder_{embedding}")

    def reorder(self, x, order):
        """Shuffles inputs and puts them back in order as the model would, to look at.

        Args:
            x: Inputs, as for `fit`.
            order: Integers `(batch, num_patches)`, a permutation for each input.

        Returns:
            `(shuffled, restored)`, both of the shape of the inputs (as cropped or padded).
        """
        shuffled = shuffle_patches(self.patches(ops.convert_to_tensor(x)), order)
        ranks = hard_rank(self._places(self.context_free_network(shuffled, training=False)))
        return self.patches.inverse(shuffled), self.patches.inverse(
            unshuffle_patches(shuffled, ranks)
        )

    def save_own_variables(self, store):
        save_state(self._loss_seed_generator(), store, LOSS_SEED)

    def load_own_variables(self, store):
        if LOSS_SEED in set(store.keys()):  # Saved with a loss that draws, too.
            load_state(self._loss_seed_generator(), store, LOSS_SEED)

    def _loss_seed_generator(self):
        return getattr(getattr(self, "loss", None), "seed_generator", None)

    def get_config(self):
        backbone = self.context_free_network.patch_encoder.backbone
        backbone = keras.saving.serialize_keras_object(backbone)
        of_layer = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
        }
        patches = keras.saving.serialize_keras_object(self.patches)
        return {**of_layer, "backbone": backbone, "patches": patches, **self._config}

    @classmethod
    def from_config(cls, config):
        objects = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("dtype", "backbone", "patches")
        }
        return cls(**{**config, **objects})


class _Untracked:
    """Holds models that share our layers, out of sight of Keras' tracking of sublayers."""

    def __init__(self):
        self.by_embedding = {}


def _order_and_scores(y, y_pred):
    """The label and the scores of a step."""
    if isinstance(y_pred, dict):
        return y_pred["order"], y_pred["scores"]
    # Keras builds losses and metrics on the outputs of a plain call first: only shapes matter then.
    return (y_pred if y is None else y), y_pred
