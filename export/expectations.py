"""What an export must give: inputs, and the embeddings that its checkpoint has for them."""

import numpy as np

from export.saved_model import DEFAULT


def write(made, path):
    """Writes `NUMBER/SIGNATURE/inputs` and `…/embeddings` for each signature of `encoders.Made`."""
    layers = {DEFAULT: (made.encoder, made.inputs), **made.further}
    arrays = {}
    for name, (layer, spec) in layers.items():
        for number, inputs in enumerate(_batches(made, spec)):
            arrays[f"{number}/{name}/inputs"] = inputs
            arrays[f"{number}/{name}/embeddings"] = np.asarray(layer(inputs, training=False))
    np.savez(path, **arrays)


def _batches(made, spec):
    """Random batches that take each way through the graph."""
    random = np.random.default_rng(0)
    if spec.shape.rank > 2:
        # Pictures and spectrograms: of one, and of several.
        shapes, low = [(count, *spec.shape[1:]) for count in (1, 3)], 0
    else:
        # Waveforms shorter than a window, of one window, and of several.
        shapes = [(3, tenths * made.window_samples // 10) for tenths in (5, 10, 25)]
        low = -1
    return [random.uniform(low, 1, shape).astype("float32") for shape in shapes]
