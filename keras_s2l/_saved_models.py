"""What can be called in a SavedModel, whoever made it, and the variables that it uses."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A graph of a SavedModel.

    Args:
        call: `call(inputs, training)` gives the outputs.
        input_specs: `tf.TensorSpec`s in the structure of the inputs.
        functions: The concrete functions that are called.
        trainable_variables: Those that training may change.
        other_variables: All others.
        regularization_losses: Functions that give one each.
        frozen_because: Why it cannot be trained, or an empty string.
        names_outputs: Whether the outputs are a dict even if there is only one.
    """

    call: Callable
    input_specs: Any
    functions: list
    trainable_variables: list = ()
    other_variables: list = ()
    regularization_losses: list = ()
    frozen_because: str = ""
    names_outputs: bool = False


def load_root(folder):
    """What `hub.load` gives.

    Raises:
        ValueError, OSError: If it cannot be read.
    """
    import tensorflow as tf

    # TF1 Hub modules keep a graph without tags, for use, beside one for training.
    is_legacy_module = tf.io.gfile.exists(os.path.join(folder, "tfhub_module.pb"))
    try:
        return tf.saved_model.load(folder, tags=[] if is_legacy_module else None)
    except ValueError as error:
        if "tags" not in str(error):
            raise
        return tf.saved_model.load(folder, tags=["serve"])
    except tf.errors.OpError as error:
        raise ValueError(f"{folder} cannot be read: {error.message}") from error


def choose(root, signature=None):
    """The root itself, if it can be called and no signature is wanted, or a signature of it.

    Raises:
        ValueError: If there is nothing of the kind.
    """
    if signature is None and callable(root):
        return _callable_root(root)
    return _signature(root, signature)


def _callable_root(root):
    functions = list(root.__call__.concrete_functions)
    arguments = inspect.getfullargspec(root.__call__)
    names = [*arguments.args, *arguments.kwonlyargs]
    modes = [_bound(function, names).get("training") for function in functions]
    can_be_told = "training" in names
    knows_training = any(mode is not False for mode in modes)  # True, or a tensor of either.
    input_specs = functions[0].structured_input_signature[0][0]

    def call(inputs, training):
        inputs = as_saved(inputs, input_specs)
        return root(inputs, training=training and knows_training) if can_be_told else root(inputs)

    trained = list(getattr(root, "trainable_variables", ()))
    return Loaded(
        call,
        input_specs,
        functions,
        trained,
        _others(root, functions, trained),
        list(getattr(root, "regularization_losses", ())),
        "" if trained else "names no `trainable_variables`",
    )


def _bound(function, names):
    args, kwargs = function.structured_input_signature
    return {**dict(zip(names, args)), **kwargs}


def _signature(root, name):
    signatures = getattr(root, "signatures", {})
    if name is None and not signatures:
        raise ValueError(
            "`handle` must be a SavedModel with a root that can be called, as "
            "`export.export_encoder` writes, or with signatures. Received: one with neither"
        )
    if name is None:
        name = "default" if "default" in signatures else "serving_default"
    if name not in signatures:
        raise ValueError(
            f"`signature` must be one of {sorted(signatures)}, those of the SavedModel. "
            f"Received: signature={name!r}"
        )
    function = signatures[name]
    input_specs = dict(function.structured_input_signature[1])
    alone = next(iter(input_specs)) if len(input_specs) == 1 else None

    def call(inputs, training):
        del training  # A signature has one mode.
        if alone is not None and not isinstance(inputs, dict):
            inputs = {alone: inputs}
        return function(**as_saved(inputs, input_specs))

    return Loaded(
        call,
        input_specs if alone is None else input_specs[alone],
        [function],
        other_variables=_others(root, [function], []),
        frozen_because=f"is called by its signature {name!r}, which has no mode for training",
        names_outputs=True,
    )


def _others(root, functions, trained):
    """Variables that are listed, or used by a function, and not trained; each once."""
    used = [variable for function in functions for variable in function.variables]
    found = {id(variable): variable for variable in [*getattr(root, "variables", ()), *used]}
    known = {id(variable) for variable in trained}
    return [variable for key, variable in found.items() if key not in known]


def as_saved(inputs, specs):
    """Inputs in the structure of the specs; floats in their precision."""
    import tensorflow as tf

    same_names = not isinstance(specs, dict) or (
        isinstance(inputs, dict) and inputs.keys() == specs.keys()
    )
    flat, flat_specs = tf.nest.flatten(inputs), tf.nest.flatten(specs)
    if not same_names or len(flat) != len(flat_specs):
        names = f"a dict of {sorted(specs)}" if isinstance(specs, dict) else f"{len(flat_specs)}"
        raise ValueError(
            f"The SavedModel takes {names} as inputs. Received: "
            f"{sorted(inputs) if isinstance(inputs, dict) else f'{len(flat)} tensors'}"
        )
    return tf.nest.pack_sequence_as(specs, [_cast(x, s) for x, s in zip(flat, flat_specs)])


def _cast(value, spec):
    value = keras.ops.convert_to_tensor(value)
    if {value.dtype.name, spec.dtype.name} == {"int32", "int64"}:  # NumPy's are of 64 bits.
        return keras.ops.cast(value, spec.dtype.name)
    if not spec.dtype.is_floating:
        if value.dtype != spec.dtype:
            raise ValueError(
                f"The SavedModel takes {spec.dtype.name} inputs. Received: inputs of dtype "
                f"{value.dtype.name}"
            )
        return value
    if not value.dtype.is_floating:
        raise ValueError(
            f"The SavedModel takes {spec.dtype.name} inputs; exports of keras_s2l take waveforms "
            "in [-1, 1] and pictures in [0, 1]: give `waveforms / 32768` for samples of 16 bits, "
            f"`pictures / 255` for bytes. Received: inputs of dtype {value.dtype.name}"
        )
    return keras.ops.cast(value, spec.dtype.name)


def compiles(functions):
    """Whether XLA knows all operations of functions; unknown ones would fail in the first step."""
    try:
        from tensorflow.python.util import pywrap_xla_ops  # TensorFlow has no public list.

        known = {*pywrap_xla_ops.get_cpu_kernel_names(), "Placeholder"}
    except ImportError:
        return True
    graphs = [function.graph.as_graph_def() for function in functions]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for f in graph.library.function for node in f.node_def]
    return all(node.op in known for node in nodes)


def symbolic(specs, shapes):
    """Keras tensors of given shapes in the structure and dtypes of specs."""
    if isinstance(specs, dict):
        return {name: symbolic(spec, shapes[name]) for name, spec in specs.items()}
    if isinstance(specs, (list, tuple)):
        return [symbolic(spec, shape) for spec, shape in zip(specs, shapes, strict=True)]
    return keras.KerasTensor(tuple(shapes), specs.dtype.name)
