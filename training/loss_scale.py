"""Loss scaling for several devices, and for runs that are resumed."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="training")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Skips a step on all replicas where the gradient of any has overflown.

    Keras has each look at its own gradient, before they are summed, and takes the answer of the
    first: what overflows on another would spoil the weights.

    A step that is skipped counts, also towards a schedule of the learning rate: a run goes on with
    the batch after the last one that it took, and Keras would have it take as many batches again as
    it had skipped. The inner optimizer must not accumulate gradients.
    """

    def check_finite(self, grads):
        finite = super().check_finite(grads)
        replicas = tf.distribute.get_replica_context()
        if replicas.num_replicas_in_sync == 1:
            return finite
        return replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(~finite, tf.float32)) == 0.0

    def _stateful_handle_non_finite_grads(self):
        super()._stateful_handle_non_finite_grads()
        self.inner_optimizer.iterations.assign_add(1)
