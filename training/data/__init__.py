"""Data sets by name."""

DATA_SETS = (
    *("notes", "moving_digits", "digit_scenes", "folder"),
    *("nsynth", "nsynth_gansynth", "speech_commands", "ucf101"),
    *("cifar10", "imagenet2012", "voc2007", "stl10"),
)
