"""Data sets by name."""

DATA_SETS = ("notes",)
