"""Programs that make encoders to load elsewhere; run from a clone."""

import training  # noqa: F401  Quiets TensorFlow's start, as for the training programs.
