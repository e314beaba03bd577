"""What the experiments are run on, by the name of `--data`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Material:
    """What the experiments are run on.

    Attributes:
        recipe: Of `training.pretrain`.
        steps: By setting; None for those of the recipe.
        num_labels: Of tables.
        many_labels: Of the figure over numbers of labels.
        slicings: By name what cuts other than the recipe's are: a label, flags, and the name in
            `published`. The first is the recipe's own.
        patches: Numbers of patches by what the recipe cuts, its own among them.
        flags: Of the runs with other numbers of patches, beside that number.
        ablations: By name what is changed of the recipe: a label, and flags.
        plain: Rows of table 1 without any network, as transfer names them.
    """

    recipe: str
    steps: dict
    num_labels: int
    many_labels: tuple
    slicings: dict
    patches: tuple = ()
    own_patches: int = 0
    flags: dict = dataclasses.field(default_factory=dict)
    ablations: dict = dataclasses.field(default_factory=dict)
    plain: tuple = ()


OF_SOUNDS = {
    "frequency": ("frequency", {}, "frequency"),
    "time": ("time", {"axis": "time", "num_patches": 10}, "time"),
    "grid": ("time-frequency", {"grid": "3,3"}, "grid"),
}
OF_NOTES = {
    "sigma-low": ("sigma 0.3", {"sigma": 0.3}),
    "sigma-high": ("sigma 3", {"sigma": 3.0}),
    "rate-low": ("learning rate 3e-4", {"learning_rate": 3e-4}),
    "rate-high": ("learning rate 3e-3", {"learning_rate": 3e-3}),
    "cosine": ("learning rate that falls to 0", {"schedule": "cosine"}),
    "batch": ("batches of 128", {"batch_size": 128}),
    "gap": ("gap of 2 bins", {"gap": 2, "remainder": "crop"}),
    "jitter": ("jitter of 2 bins", {"jitter": 2}),
    "normalize": ("patches of mean 0 and deviation 1", {"normalize": True}),
    "shift": ("up to 6 steps later", {"max_shift": 6}),
    "no-gain": ("one level", {"max_gain_db": 0.0}),
    "noise": ("white noise", {"min_snr_db": 20.0}),
    "whole-time": ("all of the time", {"min_time": 1.0}),
    "whole-frequency": ("all of the frequencies", {"min_frequency": 1.0}),
}
FOUR_PIECES = {"num_patches": 4, "remainder": "crop"}
MATERIALS = {
    "notes": Material(
        "notes",
        {"quick": 1000, "full": 20_000},
        1000,
        (500, 1000, 3000, 5000),
        {
            "frequency": OF_SOUNDS["frequency"],
            # Each with the spectrograms that suit it.
            "time": ("time", {"recipe": "notes_time"}, "time"),
            "grid": ("time-frequency", {"recipe": "notes_grid"}, "grid"),
        },
        (4, 8, 10, 12, 20),
        10,
        ablations=OF_NOTES,
        plain=("statistics",),
    ),
    "nsynth": Material(
        "nsynth_paper",
        {"quick": 10_000, "full": None},
        1000,
        (500, 1000, 3000, 5000, 10_000),
        OF_SOUNDS,
        (4, 8, 10, 12, 20),
        10,
        plain=("statistics",),
    ),
    "moving_digits": Material(
        "moving_digits",
        {"quick": 1000, "full": 20_000},
        1000,
        (100, 300, 1000, 3000),
        {},
        (4, 8, 12),
        8,
        {"remainder": "crop"},
    ),
    "digit_scenes": Material(
        "digit_scenes",
        {"quick": 1000, "full": 20_000},
        1000,
        (100, 300, 1000, 3000),
        {
            "grid": ("grid 3 x 3", {}, None),
            "small_grid": ("grid 2 x 2", {"grid": "2,2"}, None),
            "vertical": ("4 pieces along the height", {"axis": "height", **FOUR_PIECES}, None),
            "horizontal": ("4 pieces along the width", {"axis": "width", **FOUR_PIECES}, None),
        },
    ),
}
