"""Checks an export in a process of its own, which knows nothing of keras_s2l.

Example:
  python -m export.verify --export=DIR

Checks the sums of all files; where they match, and only there, runs the graph: calls every
signature, trains a step, and prints a table. With --expected=FILE.npz, whose arrays are named
NUMBER/SIGNATURE/inputs and …/embeddings, it compares what the export gives with these too; above
1e-5 is a failure.
"""

import sys

import numpy as np
import tensorflow as tf
from absl import app, flags

from export import archives

TOLERANCE = 1e-5
DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def checks(folder, expected=None):
    """What is checked of an export, in order.

    Args:
        folder: Of the export.
        expected: Arrays by name, as `export.expectations` writes them, or None.

    Returns:
        Lists of what was checked, what was found, and whether it is as it should be.
    """
    yield (sums := _sums(folder))
    if not sums[-1]:
        return  # Whoever changed a file may have changed what the graph does.
    try:
        loaded = tf.saved_model.load(folder)
    except (OSError, ValueError) as error:
        yield "SavedModel", f"cannot be loaded: {str(error).splitlines()[0]}", False
        return
    for name in loaded.signatures:
        yield _signature(loaded, name, expected)
    yield _trainability(loaded, expected)


def _sums(folder):
    try:
        wrong = archives.differing(folder)
    except (OSError, ValueError) as error:
        return "checksums", f"{archives.SUMS} cannot be read: {error}", False
    return "checksums", f"differ: {', '.join(wrong)}" if wrong else "match", not wrong


def _signature(loaded, name, expected):
    """The largest difference to what is expected, or that it gives numbers."""
    serve = loaded.signatures[name]
    ((input_name, spec),) = serve.structured_input_signature[1].items()
    what = f"signature {name} of {input_name} {spec.shape}"
    calls = [lambda x: serve(**{input_name: x})["embeddings"]]
    if name == DEFAULT:
        calls.append(lambda x: loaded(x, training=False))
    if expected is None:
        outputs = [call(_some(spec)) for call in calls]
        finite = all(np.isfinite(output).all() for output in outputs)
        return what, f"gives {outputs[0].shape}", finite
    pairs = _pairs(expected, name)
    if not pairs:
        return what, "nothing is expected of it", False
    differences = [
        largest_difference(call(inputs), embeddings)
        for inputs, embeddings in pairs
        for call in calls
    ]
    return what, f"largest difference {max(differences):.3g}", max(differences) <= TOLERANCE


def _pairs(expected, name):
    inputs = [key for key in expected if key.endswith(f"/{name}/inputs")]
    return [(expected[key], expected[key.replace("/inputs", "/embeddings")]) for key in inputs]


def largest_difference(outputs, expected):
    """Largest absolute difference; infinite if either holds a NaN."""
    difference = np.max(np.abs(np.asarray(outputs) - expected))
    return np.inf if np.isnan(difference) else float(difference)


def _some(spec):
    """A batch of a spec: of two, and where it does not say how long of 1000."""
    shape = [2 if axis == 0 else size or 1000 for axis, size in enumerate(spec.shape)]
    return tf.random.stateless_uniform(shape, (0, 0), -1.0, 1.0)


def _trainability(loaded, expected):
    """Whether a step along the gradients moves every trainable variable."""
    trainable = loaded.trainable_variables
    serve = loaded.signatures[DEFAULT]
    (spec,) = serve.structured_input_signature[1].values()
    inputs = _some(spec) if expected is None else _pairs(expected, DEFAULT)[-1][0]
    with tf.GradientTape() as tape:
        # As served too: what stands before a batch normalisation, a bias for one, is taken away
        # again by the mean of the batch, and by rounding alone has a gradient in training.
        loss = sum(_loss(loaded(tf.constant(inputs), training=t)) for t in (True, False))
    moved = 0
    for variable, gradient in zip(trainable, tape.gradient(loss, trainable)):
        # Of length 1 at most, however small the gradient.
        largest = 0.0 if gradient is None else float(tf.reduce_max(tf.abs(gradient)))
        if largest > 0:
            before = variable.numpy()
            variable.assign_sub(gradient / largest)
            moved += bool(np.any(variable.numpy() != before))
    told = f"{len(loaded.variables)} variables, {len(trainable)} trainable, {moved} moved by a step"
    return "trainability", told, 0 < moved == len(trainable)


def _loss(outputs):
    """One that no output of a batch cancels, normalised or not."""
    return tf.reduce_mean(tf.square(outputs - tf.roll(outputs, 1, axis=0) + outputs))


def table(rows):
    """The checks as a Markdown table."""
    lines = ["| check | found | |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'ok' if well else 'NOT ok'} |" for what, found, well in rows]
    return "\n".join(lines)


def main(argv):
    del argv
    expected = None
    if flags.FLAGS.expected:
        with np.load(flags.FLAGS.expected) as file:
            expected = dict(file)
    rows = list(checks(flags.FLAGS.export, expected))
    if "keras_s2l" in sys.modules:
        raise RuntimeError("This check is worth nothing where keras_s2l has been imported.")
    print(table(rows))
    return 0 if all(well for *_, well in rows) else 1


if __name__ == "__main__":
    flags.DEFINE_string("export", None, "folder of the export", required=True)
    flags.DEFINE_string("expected", None, "inputs and their embeddings, .npz")
    app.run(main)
