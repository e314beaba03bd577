"""Checks an export in a process of its own, which knows nothing of keras_s2l.

Example:
  python -m export.verify --export=DIR --expected=FILE.npz

FILE.npz holds pairs of arrays: `inputs_NAME`, and `embeddings_NAME` that the checkpoint gave for
them. Prints the largest difference; above 1e-5 is a failure.
"""

import sys

import numpy as np
from absl import app, flags

TOLERANCE = 1e-5


def largest_difference(folder, expected):
    """Largest absolute difference of the export's embeddings, called and by its signature.

    A NaN on either side is an infinite difference.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    differences = []
    serve = loaded.signatures["serving_default"]
    (input_name,) = serve.structured_input_signature[1]
    for name in [name for name in expected if name.startswith("inputs_")]:
        inputs = tf.constant(expected[name])
        called = loaded(inputs, training=False)
        served = serve(**{input_name: inputs})["embeddings"]
        for outputs in (called, served):
            difference = np.max(np.abs(outputs - expected[name.replace("inputs", "embeddings")]))
            differences.append(np.inf if np.isnan(difference) else float(difference))
    return max(differences)


def main(argv):
    del argv
    with np.load(flags.FLAGS.expected) as expected:
        difference = largest_difference(flags.FLAGS.export, expected)
    if "keras_s2l" in sys.modules:
        raise RuntimeError("This check is worth nothing where keras_s2l has been imported.")
    print(f"Largest difference between checkpoint and export: {difference:.3g}")
    return 0 if difference <= TOLERANCE else 1


if __name__ == "__main__":
    flags.DEFINE_string("export", None, "folder of the SavedModel", required=True)
    flags.DEFINE_string("expected", None, "inputs and their embeddings, .npz", required=True)
    app.run(main)
