"""Keras' `fit` where several processes train together."""

import keras


def across_workers(strategy):
    """Whether several processes train together under a `tf.distribute` strategy."""
    import tensorflow as tf

    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )


class MultiWorkerFit:
    """Makes `fit` and `evaluate` of a Keras model work across the workers of TensorFlow.

    Name it before the class of the model, that of a model around a `HubEncoder` for example, and
    make the model in the scope of a `tf.distribute.MultiWorkerMirroredStrategy`. Models of ours
    have it. It changes nothing elsewhere: for one process, or on another backend of Keras.

    Keras would average the first batch over the replicas, to see its shape, which fails across
    workers and for batches of other sizes, and then the logs of a step, scalars, over an axis that
    they lack.

    Example:
    >>> class Classifier(MultiWorkerFit, keras.Sequential):
    ...     pass

    Reference: https://github.com/keras-team/keras/issues/20585
    """

    if keras.backend.backend() == "tensorflow":  # Others call these methods in other ways.

        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            if iterator is not None and self._distribute_strategy is not None:
                strategy = self.distribute_strategy
                for _, _, steps in iterator:
                    data_batch = keras.tree.map_structure(
                        lambda value: strategy.experimental_local_results(value)[0], next(steps)
                    )
                    break
                iterator = None
            return super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

        def train_step(self, data):
            return self._with_axis(super().train_step(data))

        def test_step(self, data):
            return self._with_axis(super().test_step(data))

        def _with_axis(self, logs):
            if not across_workers(self.distribute_strategy):
                return logs
            return keras.tree.map_structure(lambda value: value[None], logs)
