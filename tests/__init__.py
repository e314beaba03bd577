import training  # noqa: F401  So that TensorFlow computes as in the programs, bit for bit.
