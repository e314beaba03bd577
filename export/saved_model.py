"""TF Hub's reusable SavedModel of an encoder, written whole or not at all."""

import json
import os
import pathlib
import shutil

import keras
import tensorflow as tf

METADATA = "metadata.json"


def write(encoder, inputs, metadata, output):
    """Writes an encoder as a SavedModel that TF Hub's clients can call and train.

    Args:
        encoder: Built Keras layer from a batch of inputs to embeddings.
        inputs: `tf.TensorSpec` of a batch, with the name that the signature gives it.
        metadata: Record that goes into `metadata.json` beside the model, with the architecture.
        output: Folder to make.

    Raises:
        FileExistsError: If the folder is there and holds anything.
    """
    output = pathlib.Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(str(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f"{output.name}.unfinished-{os.getpid()}")
    try:
        root = _callable_root(encoder, inputs)
        serving = tf.function(lambda x: {"embeddings": root.__call__(x)})
        signature = serving.get_concrete_function(inputs)
        tf.saved_model.save(root, str(unfinished), signatures={"serving_default": signature})
        # From the architecture a reader builds the same encoder untrained.
        architecture = keras.saving.serialize_keras_object(encoder)
        record = json.dumps({**metadata, "architecture": architecture}, indent=2)
        (unfinished / METADATA).write_text(record + "\n", encoding="utf-8")
        os.replace(unfinished, output)  # An empty folder may stand in its place.
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _callable_root(encoder, inputs):
    """A root that `hub.load` gives back as a function with variables.

    Not a `tf.Module`, which reloads without `variables`; not `Model.export`, whose root cannot be
    called.
    """
    root = tf.train.Checkpoint(model=encoder)
    root.__call__ = tf.function(lambda x, training=False: encoder(x, training=training))
    for training in (False, True):
        root.__call__.get_concrete_function(inputs, training=training)
    root.variables = [variable.value for variable in encoder.variables]
    root.trainable_variables = [variable.value for variable in encoder.trainable_variables]
    root.regularization_losses = []
    return root
