"""Data sets by name."""

RENDERED = ("notes", "notes_varied")
MADE_HERE = (*RENDERED, "moving_digits", "digit_scenes")
PUBLISHED_SOUNDS = ("nsynth", "nsynth_gansynth", "speech_commands")
PUBLISHED_PICTURES = ("ucf101", "cifar10", "imagenet2012", "voc2007", "stl10")
PUBLISHED = (*PUBLISHED_SOUNDS, *PUBLISHED_PICTURES)
DATA_SETS = (*MADE_HERE, "folder", *PUBLISHED)
