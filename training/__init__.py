"""Programs that train encoders and measure what they are worth; run from a clone."""

import os

# TensorFlow's start-up chatter would hide the one line that says what went wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# On CPUs that have no instructions for neural networks TensorFlow leaves oneDNN off, though with it
# a training step takes two thirds of the time there, or less.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
