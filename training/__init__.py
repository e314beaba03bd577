"""Programs that train encoders and measure what they are worth; run from a clone."""

import os

# TensorFlow's start-up chatter would hide the one line that says what went wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# On CPUs that have no instructions for neural networks TensorFlow leaves oneDNN off, though with it
# a training step takes 0.4 to 0.8 of the time there.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
