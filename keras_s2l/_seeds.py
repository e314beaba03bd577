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


class SavedDraws:
    """For layers and models with a generator: they save it with their own variables.

    Keras does not save generators: a restored layer would draw the same again.
    """

    _generator_name = "seed_generator_state"

    def _saved_generator(self):
        """The generator, `None` if nothing is drawn."""
        return self.seed_generator

    def save_own_variables(self, store):
        super().save_own_variables(store)
        generator = self._saved_generator()
        if generator is not None:
            store[self._generator_name] = keras.ops.convert_to_numpy(generator.state.value)

    def load_own_variables(self, store):
        names = list(store.keys())  # All that a store of Keras has of a dictionary's methods.
        own = {name: store[name] for name in names}
        state, generator = own.pop(self._generator_name, None), self._saved_generator()
        super().load_own_variables(own)
        if state is not None and generator is not None:  # Saved by one that draws, too.
            generator.state.assign(state[()])
