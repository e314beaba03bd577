"""Encoders exported as TF-Hub SavedModels, as Keras 3 layers."""

import keras


@keras.saving.register_keras_serializable(package="keras_s2l")
class HubEncoder(keras.layers.Layer):
    """Loads a reusable TF2 SavedModel as a layer that trains, freezes and saves.

    `hub.KerasLayer` refuses Keras 3 models, and inside a `Lambda` layer it runs silently frozen;
    this layer shares the loaded variables with Keras. Loading a SavedModel runs its graph: load
    only what you trust.

    Args:
        handle: Folder of a SavedModel, or a URL that TF Hub resolves.
        trainable: Whether its variables are trained. Whoever changes it later must
            `compile` again, as with any layer.

    Input and output shapes: those of the SavedModel; for our audio exports, waveforms
    `(batch, samples)` in [-1, 1] to embeddings `(batch, dimensions)`.

    Raises:
        ValueError: If the handle is no SavedModel, or one whose root cannot be called.

    Example:
    >>> encoder = HubEncoder("runs/demo/export", trainable=False)   # What `make demo` exports.
    >>> model = keras.Sequential([encoder, keras.layers.Dense(15)])

    Reference: the reusable SavedModel interface, https://www.tensorflow.org/hub/reusable_saved_models
    """

    def __init__(self, handle, trainable=True, **kwargs):
        super().__init__(autocast=False, **kwargs)  # The graph takes the dtypes it was saved with.
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "`HubEncoder` runs a TensorFlow graph, so it needs KERAS_BACKEND=tensorflow. "
                f"Received: the {keras.backend.backend()} backend"
            )
        self.handle = str(handle)
        self._loaded = _load(self.handle)
        trained = {id(v) for v in self._loaded.trainable_variables}
        self._shared_variables = [
            # Wrapping shares the loaded variable: an update here is seen by the graph.
            keras.Variable(variable, trainable=id(variable) in trained, name=_leaf_name(variable))
            for variable in self._loaded.variables
        ]
        # Only now, with the variables tracked, does freezing reach them.
        self.trainable = trainable
        self.built = True

    def call(self, inputs, training=None):
        training = bool(training) and self.trainable
        outputs = self._loaded(inputs, training=training)
        for loss in getattr(self._loaded, "regularization_losses", []):
            self.add_loss(loss())
        return keras.tree.map_structure(lambda x: keras.ops.cast(x, self.compute_dtype), outputs)

    def get_config(self):
        return {**super().get_config(), "handle": self.handle}


def _load(handle):
    import tensorflow_hub  # Costs half a second, and only those pay who load an encoder.

    try:
        loaded = tensorflow_hub.load(handle)
    except (OSError, ValueError) as error:
        raise ValueError(
            "`handle` must be the folder of a TF2 SavedModel (it holds `saved_model.pb`) or a URL "
            f"that TF Hub resolves. Received: handle={handle!r}, which gave: {error}"
        ) from error
    if not callable(loaded) or not hasattr(loaded, "trainable_variables"):
        raise ValueError(
            "`handle` must be a reusable SavedModel: a callable root with `variables` and "
            "`trainable_variables`, as `export.export_encoder` writes; `model.export()` of Keras "
            f"does not. Received: handle={handle!r}"
        )
    return loaded


def _leaf_name(variable):
    return variable.name.split(":")[0].replace("/", "_")
