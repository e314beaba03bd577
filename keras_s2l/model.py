"""The model that users train: `fit` shuffles patches and has them put back in order."""

import contextlib

import keras
import numpy as np
from keras import ops

from keras_s2l._orders import refuse_no_permutations
from keras_s2l._seeds import SavedDraws
from keras_s2l.losses import FenchelYoungRankLoss, PermutationCrossEntropy
from keras_s2l.metrics import PatchAccuracy
from keras_s2l.permutations import as_permutations
from keras_s2l.pretext_model import PretextModel
from keras_s2l.ranking.hard_rank import hard_rank
from keras_s2l.shuffle import PatchShuffle, gathered, shuffle_patches


@keras.saving.register_keras_serializable(package="keras_s2l")
class ShuffleToLearn(SavedDraws, PretextModel):
    """Self-supervised pre-training: shuffled patches are put back in order.

    `fit` takes unlabelled examples `x`, or `(x, order)` when the input pipeline drew the orders
    itself; an order is a permutation for each example, `(batch, num_patches)`. A pipeline that
    draws the rest too gives a dictionary in place of `x`: `"input"` with any of `"offsets"`, as of
    `Patches.call`, and `"draws"`, as of `FenchelYoungRankLoss.using`. Patches are shuffled
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
            paper, before its activation, of which the paper says nothing. `"patches"`: the last
            features of all patches. `"levels"`: those, and the average activations of earlier
            layers of the backbone for each patch. `"positions"`: the last features, and the
            activations of earlier layers at each position along the axis that is cut, averaged over
            the others: of frequency bands all bins are kept, and the pitch with them. `None` is
            `"levels"` where the levels are known (a backbone of ours, or `levels` given), else
            `"patches"`.
        levels: Names of the backbone's layers that join the embeddings `"levels"` and
            `"positions"`. `None` takes the two blocks before the last of our own backbones, for
            positions three; for any other backbone name them.
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

    _generator_name = "loss_seed_generator_state"

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
        super().__init__(
            backbone,
            None if permutations is None else len(as_permutations(permutations)),
            num_patches=num_patches,
            axis=axis,
            remainder=remainder,
            patches=patches,
            hidden_units=hidden_units,
            embedding=embedding,
            levels=levels,
            **kwargs,
        )
        dtype = self.dtype_policy
        self.shuffle = PatchShuffle(seed, permutations, dtype=dtype, name="shuffle")
        self.evaluation_shuffle = PatchShuffle(
            0, permutations, dtype=dtype, name="evaluation_shuffle"
        )
        self._config |= {
            "permutations": None if permutations is None else np.asarray(permutations).tolist(),
            "seed": seed,
        }

    def build(self, input_shape):
        if isinstance(input_shape, dict):  # Of a training or test step.
            _refuse_other_names(input_shape)
            input_shape = input_shape["input"]
        super().build(input_shape)

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

    @property
    def permutations(self):
        """The set to draw from, int32 `(num_permutations, num_patches)`; `None` for all."""
        return self.shuffle.permutations

    @property
    def non_trainable_variables(self):
        variables = super().non_trainable_variables
        generator = self._saved_generator()
        if generator is None or keras.backend.backend() != "jax":
            return variables
        # JAX keeps what a step changes of these only: else the loss would draw the same each step.
        return [*variables, generator.state]

    def call(self, inputs, training=None):
        if not isinstance(inputs, dict):
            return super().call(inputs, training=training)
        # The pretext task, from `train_step` or `test_step`: the label comes out with the scores.
        shuffle = self.shuffle if training else self.evaluation_shuffle
        patches = self.patches(inputs["input"], training=training, offsets=inputs.get("offsets"))
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
        task = dict(x) if isinstance(x, dict) else {"input": x}
        _refuse_other_names(task)
        if order is not None:
            self._refuse_no_orders(order)
            task["order"] = order
        return task, None, sample_weight

    def _refuse_no_orders(self, order):
        if order is None:
            return
        shape = tuple(ops.convert_to_tensor(order).shape)
        if len(shape) != 2 or shape[1] not in (None, self.patches.num_patches):
            raise ValueError(
                "`fit` and `evaluate` take examples alone, or examples and their orders of shape "
                f"(batch, {self.patches.num_patches}). Received: a label of shape {shape}"
            )
        refuse_no_permutations(order)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        order, scores = self._order_and_scores(y, y_pred)
        draws = x.get("draws") if isinstance(x, dict) else None
        if draws is not None and not hasattr(self.loss, "using"):
            raise ValueError(
                "`draws` beside the input are for `FenchelYoungRankLoss(num_samples=…)`. Received: "
                f"loss={self.loss!r}"
            )
        with contextlib.nullcontext() if draws is None else self.loss.using(draws):
            return super().compute_loss(x, order, scores, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        order, scores = self._order_and_scores(y, y_pred)
        return super().compute_metrics(x, order, self._places(scores), sample_weight)

    def _order_and_scores(self, y, y_pred):
        """The label and the scores of a step."""
        if isinstance(y_pred, dict):
            return y_pred["order"], y_pred["scores"]
        if y is not None:
            return y, y_pred
        # Keras builds losses and metrics on the outputs of a plain call first: only shapes matter.
        return ops.repeat(y_pred[:, :1], self.patches.num_patches, axis=1), y_pred

    def _places(self, scores):
        """What orders the patches: scores, or their places in the likeliest permutation."""
        if self.permutations is None:
            return scores
        likeliest = ops.take(self.permutations, ops.argmax(scores, axis=-1), axis=0)
        return ops.cast(likeliest, scores.dtype)

    def fit(self, x=None, y=None, *args, **kwargs):
        # Here they can be seen, in a compiled step they cannot.
        self._refuse_no_orders(y)
        if isinstance(kwargs.get("validation_data"), (tuple, list)):
            self._refuse_no_orders(
                keras.utils.unpack_x_y_sample_weight(kwargs["validation_data"])[1]
            )
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        self._refuse_no_orders(y)
        self.evaluation_shuffle.reset()
        generator = self._saved_generator()
        if generator is None:
            return super().evaluate(x, y, *args, **kwargs)
        before = ops.convert_to_numpy(generator.state.value)
        try:
            return super().evaluate(x, y, *args, **kwargs)
        finally:  # What training draws does not depend on when it is evaluated.
            generator.state.assign(before)

    def reorder(self, x, order):
        """Shuffles inputs and puts them back in order as the model would, to look at.

        Args:
            x: Inputs, as for `fit`.
            order: Integers `(batch, num_patches)`, a permutation for each input.

        Returns:
            `(shuffled, restored)`, both of the shape and dtype of the inputs, as cropped or padded.

        Raises:
            ValueError: If a row of `order` is no permutation.
        """
        shuffled = shuffle_patches(self.patches(ops.convert_to_tensor(x)), order)
        ranks = hard_rank(self._places(self.context_free_network(shuffled, training=False)))
        # Not `unshuffle_patches`: scores that are no numbers have no ranks.
        restored = gathered(shuffled, ops.argsort(ranks, axis=1))
        return self.patches.inverse(shuffled), self.patches.inverse(restored)

    def _saved_generator(self):
        return getattr(getattr(self, "loss", None), "seed_generator", None)


def _refuse_other_names(inputs):
    if "input" not in inputs or not set(inputs) <= {"input", "offsets", "draws", "order"}:
        raise ValueError(
            '`fit` and `evaluate` take a dictionary of "input", and if wanted "offsets" and '
            f'"draws", in place of examples. Received: a dictionary of {sorted(inputs)}'
        )
