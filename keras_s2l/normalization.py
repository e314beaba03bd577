"""Batch normalisation that trains by TensorFlow's own kernel."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_s2l")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained by one kernel of TensorFlow.

    Keras 3 normalises a batch by a dozen operations, each of which goes over all activations: a
    third to a half of a training step of a small convolutional network on a CPU. This layer takes
    `FusedBatchNorm` in their place, for statistics of the batch on the TensorFlow backend. Results,
    gradients, moving averages and weights are those of the layer that it inherits from, to the
    rounding of float32.

    With a mask, `synchronized`, `renorm`, an `axis` other than the last, without `center` or
    `scale`, in float64, in inference and on other backends it is that layer.

    Args: as for `keras.layers.BatchNormalization`.

    Input shape: `(batch, ..., channels)`, of any rank from 2 on. Output shape: the same.

    Example:
    >>> FusedBatchNormalization()(np.ones((2, 98, 6, 32)), training=True).shape  # (2, 98, 6, 32)

    Reference: Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self._has_kernel(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # Not a dependency of the other backends.

        gamma, beta = (ops.cast(weight, "float32") for weight in (self.gamma, self.beta))
        # Of half precision too: its range is too small for statistics.
        flat = ops.reshape(ops.cast(inputs, "float32"), (1, -1, 1, inputs.shape[-1]))
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            flat, gamma, beta, epsilon=self.epsilon, is_training=True
        )
        # The kernel's is the unbiased estimate, which Keras does not average.
        count = ops.cast(ops.shape(flat)[1], "float32")
        variance *= (count - 1.0) / count
        for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = ops.cast(average, "float32")
            average.assign(old * self.momentum + new * (1.0 - self.momentum))
        return ops.cast(ops.reshape(outputs, ops.shape(inputs)), self.compute_dtype)

    def _has_kernel(self, inputs):
        return (
            keras.backend.backend() == "tensorflow"
            and keras.backend.result_type(inputs.dtype, "float32") == "float32"
            and self.axis in (-1, len(inputs.shape) - 1)
            and self.center
            and self.scale
            and not (self.synchronized or self.renorm)
        )
