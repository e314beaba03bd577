"""Encoders exported as TF-Hub SavedModels, as Keras 3 layers."""

import functools
import logging
import warnings

import keras

from keras_s2l import _saved_models, handles


@keras.saving.register_keras_serializable(package="keras_s2l")
class HubEncoder(keras.layers.Layer):
    """Loads a SavedModel, ours or not, as a layer that trains, freezes and saves.

    `hub.KerasLayer` refuses Keras 3 models, and inside a `Lambda` layer it runs silently frozen;
    this layer shares the loaded variables with Keras.

    Loading a SavedModel runs its graph, which may read and write files: load only what you trust.

    A reusable SavedModel, as `export.export_encoder` and TF Hub's publishers make them, can be
    trained. A TF1 Hub module, and what has signatures only, as `model.export()` of Keras writes,
    can be used frozen, with `trainable=False`. A model saved as `.keras` keeps the handle and the
    weights; where the handle has moved, load it within `moved_handles`.

    Args:
        handle: Folder of a SavedModel, or of its versions; archive of one; `file://`, `http(s)://`
            by TF Hub's protocol, or another handle that TF Hub resolves, such as `gs://`.
        trainable: Whether its variables are trained. Whoever changes it later must
            `compile` again, as with any layer.
        signature: Name of a signature to call, frozen, instead of the root.
        output_key: Which output to give: a key, or an index. `None` gives all of several.

    Input and output shapes: those of the SavedModel; for our audio exports, waveforms
    `(batch, samples)` in [-1, 1] to embeddings `(batch, dimensions)`. Several inputs are a dict or
    a list, as they were saved. Floats are cast to the precision that was saved, and to the layer's
    on the way out.

    Raises:
        ValueError: If the handle leads to no SavedModel, or to a damaged one; if one is to be
            trained that cannot be.

    Example:
    >>> encoder = HubEncoder("runs/demo/export", trainable=False)   # What `make demo` exports.
    >>> model = keras.Sequential([encoder, keras.layers.Dense(15)])

    Reference: the reusable SavedModel interface, https://www.tensorflow.org/hub/reusable_saved_models
    """

    def __init__(self, handle, trainable=True, signature=None, output_key=None, **kwargs):
        super().__init__(autocast=False, **kwargs)  # The graph takes the dtypes it was saved with.
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "`HubEncoder` runs a TensorFlow graph, so it needs KERAS_BACKEND=tensorflow; "
                "`keras_s2l.load_encoder(path)` loads the Keras model of our own exports on any "
                f"backend. Received: the {keras.backend.backend()} backend"
            )
        self.handle = handles.current(handle)
        self.signature = signature
        self.output_key = output_key
        self._root = _load(self.handle)  # Whoever exports a model exports its tables too.
        self._loaded = _saved_models.choose(self._root, signature)
        self._shared_variables = [
            *(_shared(variable, True) for variable in self._loaded.trainable_variables),
            *(_shared(variable, False) for variable in self._loaded.other_variables),
        ]
        losses = self._loaded.regularization_losses
        if losses and self._loaded.trainable_variables:
            # Keras adds a regularizer once, however often a layer is called, and none if frozen.
            self._shared_variables[0].regularizer = lambda _: sum(loss() for loss in losses)
        if trainable and self._loaded.frozen_because:
            raise ValueError(f"Give `trainable=False`: {self._frozen_only()}")
        # Only now, with the variables tracked, does freezing reach them.
        self.trainable = trainable
        self.built = True

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        if value and self._loaded.frozen_because:
            # Not an error: a model that sets its layers would be left with some of them set.
            warnings.warn(f"It stays frozen: {self._frozen_only()}", stacklevel=2)
            value = False
        keras.layers.Layer.trainable.fset(self, value)

    def _frozen_only(self):
        return (
            f"the SavedModel {self.handle!r} can be used frozen only, since it "
            f"{self._loaded.frozen_because}."
        )

    @property
    def supports_jit(self):
        """Whether XLA may compile it: frozen, and without tables and strings, which XLA lacks.

        Where a loaded function has gradients XLA takes what goes into it for constants, variables
        too, and so compiles anew at every step.
        """
        return not self.trainable and _saved_models.compiles(self._loaded.functions)

    @supports_jit.setter
    def supports_jit(self, value):
        del value  # Keras presumes it of every layer.

    def call(self, inputs, training=None):
        outputs = self._loaded.call(inputs, bool(training) and self.trainable)
        if self.output_key is not None:
            outputs = _output(outputs, self.output_key)
        elif self._loaded.names_outputs and len(outputs) == 1:
            (outputs,) = outputs.values()
        return keras.tree.map_structure(self._cast_float, outputs)

    def _cast_float(self, value):
        return keras.ops.cast(value, self.compute_dtype) if value.dtype.is_floating else value

    def compute_output_spec(self, inputs, training=None):
        # Each output has its dtype, so the graph is asked, and not the shapes alone.
        return keras.Operation.compute_output_spec(self, inputs, training=training)

    def compute_output_shape(self, input_shape):
        inputs = _saved_models.symbolic(self._loaded.input_specs, input_shape)
        return keras.tree.map_structure(lambda x: x.shape, self.compute_output_spec(inputs))

    def get_config(self):
        return {
            **super().get_config(),
            "handle": self.handle,
            "signature": self.signature,
            "output_key": self.output_key,
        }


@functools.cache
def _say_once_that_graphs_run():
    logging.getLogger("keras_s2l").warning(
        "HubEncoder runs the graph of a SavedModel, which may read and write files: load only what "
        "you trust. (Said once.)"
    )


def _load(handle):
    _say_once_that_graphs_run()
    try:
        return _saved_models.load_root(handles.resolve(handle))
    except (OSError, ValueError) as error:
        raise ValueError(
            "`handle` must be the folder of a SavedModel (it holds `saved_model.pb`), an archive "
            f"of one, or a URL that TF Hub resolves. Received: handle={handle!r}, which gave: "
            f"{str(error).rstrip('.')}. If a saved model names a handle that has moved, load it "
            f"within `keras_s2l.moved_handles({{{handle!r}: 'the new one'}})`."
        ) from error


def _shared(variable, trainable):
    """A Keras variable that shares the loaded one: an update here is seen by the graph."""
    name = variable.name.split(":")[0].replace("/", "_")
    return keras.Variable(variable, trainable=trainable, name=name)


def _output(outputs, key):
    if not isinstance(outputs, (dict, list, tuple)):
        raise ValueError(
            "`output_key` must be None: the SavedModel has one output. Received: "
            f"output_key={key!r}"
        )
    keys = sorted(outputs) if isinstance(outputs, dict) else list(range(len(outputs)))
    if key not in keys:
        raise ValueError(
            f"`output_key` must be one of {keys}, the outputs of the SavedModel. "
            f"Received: output_key={key!r}"
        )
    return outputs[key]
