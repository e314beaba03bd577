"""Seeds that differ between the replicas of a strategy."""

import keras


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` whose seeds differ between the replicas of a strategy.

    Keras' own gives each replica of a `tf.distribute` strategy the same seed, hence each the same
    permutations.
    """

    def next(self, ordered=True):
        seed = super().next(ordered=ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf  # Not a dependency of the other backends.

        context = tf.distribute.get_replica_context()  # None while a model is built in `scope()`.
        replica = context.replica_id_in_sync_group if context else 0
        return tf.random.fold_in(tf.cast(seed, tf.int32), replica)


def save_state(generator, store, name="seed_generator_state"):
    """Puts the state of a generator into what a layer saves; `None` has none.

    Keras does not save generators: a restored layer would draw the same again.
    """
    if generator is not None:
        store[name] = keras.ops.convert_to_numpy(generator.state.value)


def load_state(generator, store, name="seed_generator_state"):
    """Takes up a generator where `save_state` left it."""
    if generator is not None:
        generator.state.assign(store[name][()])
