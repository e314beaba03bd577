"""TF Hub's reusable SavedModel of an encoder."""

import keras
import tensorflow as tf

DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def write(encoder, inputs, folder, further=None):
    """Writes an encoder as a SavedModel that TF Hub's clients can call and train.

    Args:
        encoder: Built Keras layer from a batch of inputs to embeddings.
        inputs: `tf.TensorSpec` of a batch, with the name that the signature gives it.
        folder: Where to; it is made.
        further: Further signatures by name: pairs of a built Keras layer, which may share variables
            with `encoder`, and the `tf.TensorSpec` of its input.
    """
    further = further or {}
    root = _callable_root(encoder, inputs, {name: layer for name, (layer, _) in further.items()})
    signatures = {DEFAULT: _signature(root.__call__, inputs)}
    for name, (layer, spec) in further.items():
        signatures[name] = _signature(layer, spec)
    tf.saved_model.save(root, str(folder), signatures=signatures)


def _signature(function, spec):
    serve = tf.function(lambda x: {"embeddings": function(x, training=False)})
    return serve.get_concrete_function(spec)


def _callable_root(encoder, inputs, further):
    """A root that `hub.load` gives back as a function with variables.

    Not a `tf.Module`, which reloads without `variables`; not `Model.export`, whose root cannot be
    called.
    """
    # Further layers are tracked for the variables that they alone have.
    root = tf.train.Checkpoint(
        model=encoder, **{f"model_{name}": further[name] for name in further}
    )
    root.__call__ = tf.function(lambda x, training=False: encoder(x, training=training))
    for training in (False, True):
        root.__call__.get_concrete_function(inputs, training=training)
    root.variables = [variable.value for variable in encoder.variables]
    root.trainable_variables = [variable.value for variable in encoder.trainable_variables]
    root.regularization_losses = [
        _regularization_loss(variable) for variable in _regularized(encoder)
    ]
    return root


def _regularized(encoder):
    """The trainable variables that have a regularizer, each once however deep models are nested."""
    return [variable for variable in encoder.trainable_variables if variable.regularizer]


def _regularization_loss(variable):
    loss = tf.function(lambda: keras.ops.cast(variable.regularizer(variable), "float32"))
    loss.get_concrete_function()
    return loss
