"""Programs that train encoders and measure what they are worth; run from a clone."""

import os

# TensorFlow's start-up chatter would hide the one line that says what went wrong.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
