"""Data sets by name."""

DATA_SETS = ("notes", "moving_digits", "digit_scenes", "folder")
