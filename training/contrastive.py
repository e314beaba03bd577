"""A contrastive learner of today, the baseline beside the permutation objectives."""

import keras
from keras import ops

from keras_s2l.pretext_model import PretextModel
from training.distribution import gathered

PROJECTION = 128  # Dimensions in which views are compared, as in SimCLR.
_MASKED = -1e9  # A view is not compared with itself.


@keras.saving.register_keras_serializable(package="keras_s2l")
class ContrastiveLearner(PretextModel):
    """Tells which two views come from the same example, among all views of a batch.

    The Context-Free Network of the permutation task, its outputs the projection of SimCLR: patches
    as they stand, a shared backbone, two fully connected layers. `fit` takes `views`, `(batch, 2,
    ...)`, two of each example, which the input pipeline drew. Under a strategy they are told from
    the views of all replicas.

    Args:
        backbone, **kwargs: As for `PretextModel`.

    Reference: Chen et al., 2020, SimCLR, https://arxiv.org/abs/2002.05709; of sounds Saeed et al.,
    2021, COLA, https://arxiv.org/abs/2010.10915
    """

    def __init__(self, backbone, **kwargs):
        super().__init__(backbone, PROJECTION, **kwargs)

    def build(self, input_shape):
        if isinstance(input_shape, dict):  # Of a training or test step.
            batch, _, *example = input_shape["views"]
            input_shape = (batch, *example)
        super().build(input_shape)

    def call(self, inputs, training=None):
        if not isinstance(inputs, dict):
            return super().call(inputs, training=training)
        views = inputs["views"]
        # Both of all examples together: batch normalisation must not tell the two apart. Views are
        # cut at random already: patches are not.
        patches = self.patches(ops.concatenate([views[:, 0], views[:, 1]]), training=False)
        return self.context_free_network(patches, training=training)

    def train_step(self, data):
        return super().train_step(self._task(data))

    def test_step(self, data):
        return super().test_step(self._task(data))

    def _symbolic_build(self, iterator=None, data_batch=None):
        # Under a strategy Keras first calls the model itself on a batch: on an example of each two.
        super()._symbolic_build(iterator=iterator, data_batch=data_batch[:, 0])

    def _task(self, data):
        views, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        return {"views": views}, None, sample_weight

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(x, *_similarities(y_pred), sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, *_similarities(y_pred), sample_weight)


def _similarities(projections):
    """Of each view here the number of its partner `(2B,)`, and its cosines with all `(2B, 2RB)`.

    Args:
        projections: `(2B, dimensions)`, first views and then second ones, of each of R replicas.
    """
    # Half precision would turn cosines that differ into ties.
    dtype = keras.backend.result_type(projections.dtype, "float32")
    projections = ops.cast(projections, dtype)
    projections = ops.normalize(projections, axis=-1, epsilon=1e-6)
    everywhere, replica = gathered(projections)
    num_views, num_everywhere = ops.shape(projections)[0], ops.shape(everywhere)[0]
    number = ops.arange(num_views, dtype="int32") + replica * num_views
    partner = ops.roll(number, num_views // 2)
    itself = ops.one_hot(number, num_everywhere, dtype=dtype)
    return partner, ops.matmul(projections, ops.transpose(everywhere)) + _MASKED * itself


@keras.saving.register_keras_serializable(package="keras_s2l")
class NTXentLoss(keras.losses.Loss):
    """Normalised, temperature-scaled cross-entropy: which of the other views is the partner.

    Called as `loss(partner, similarities)`, `(views,)` and `(views, all views)`.

    Args:
        temperature: What cosines are divided by; SimCLR uses 0.1 to 0.5.

    Reference: Chen et al., 2020, equation 1, https://arxiv.org/abs/2002.05709
    """

    def __init__(self, temperature=0.1, name="nt_xent", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, partner, similarities):
        return ops.sparse_categorical_crossentropy(
            partner, similarities / self.temperature, from_logits=True
        )

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
