"""A pre-training run."""

import dataclasses
import math

from training.config.data import DataConfig
from training.config.devices import DevicesConfig
from training.config.fields import check_seed, flag, refuse_below
from training.data import PUBLISHED_PICTURES, PUBLISHED_SOUNDS
from training.errors import UserError

AXES = ("frequency", "time", "height", "width", "frames")
REMAINDERS = ("error", "crop", "pad")
BACKBONES = ("note", "alexnet", "image", "clip")
OBJECTIVES = (
    *("perturbed", "perturbed_samples", "soft_rank", "soft_rank_kl"),
    *("mean_squared_error", "cross_entropy", "contrastive"),
)


PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(DataConfig, DevicesConfig):
    """A pre-training run."""

    image_size: int = flag(
        64, "pixels that pictures and clips are brought to", data=("folder", *PUBLISHED_PICTURES)
    )
    num_frames: int = flag(
        16, "frames that are taken of a clip, evenly spaced", data=("folder", "ucf101")
    )
    channels: int = flag(
        3, "of pictures and clips: 1, gray, or 3", data=("folder", *PUBLISHED_PICTURES)
    )
    sample_rate: int = flag(
        16000, "samples a second that sounds are brought to", data=("folder", *PUBLISHED_SOUNDS)
    )
    window_samples: int = flag(
        16000, "samples of the windows that sounds are cut into", data=("folder", *PUBLISHED_SOUNDS)
    )

    recipe: str = flag("notes", "named settings; the other flags change them")
    steps: int = flag(3000, "training steps in all; more of them continue a finished run")
    batch_size: int = flag(64, "examples in a step, over all devices")
    learning_rate: float = flag(1e-3, "of Adam")
    schedule: str = flag(
        "constant", "of the learning rate: cosine has it fall to 0 along half a cosine"
    )
    warmup_steps: int = flag(0, "steps in which the learning rate first rises from 0")
    precision: str = flag("float32", "of the network; weights and losses are float32 in all")
    jit_compile: bool = flag(False, "have XLA compile the training step")
    data_share: float = flag(1.0, "share of the recordings that is learnt from, drawn by the seed")
    seed: int = flag(0, "all weights, orders of examples and permutations follow from it")
    axis: str = flag("frequency", "what is cut: frequency, time, height, width or frames")
    num_patches: int = flag(10, "number of patches along the axis that are put in order")
    grid: tuple[int, ...] = flag(
        (), "in place of axis and num_patches the numbers of patches of a grid, such as 3,3"
    )
    remainder: str = flag("error", "where an axis does not divide: error, or crop or pad its end")
    gap: int = flag(0, "steps, bins, pixels or frames left out between patches")
    jitter: int = flag(0, "room within which each patch moves, in the same unit")
    normalize: bool = flag(False, "bring each patch to mean 0 and standard deviation 1")
    min_snr_db: float | None = flag(
        None, "white noise is added to sounds, by so many decibels softer or up to 40 more"
    )
    min_time: float = flag(
        0.6, "share of the time of sounds that is seen at least, at random, as long as all of it"
    )
    min_frequency: float = flag(0.7, "the same share of the frequencies of sounds")
    min_area: float = flag(
        1.0, "share of the area of pictures and clips that is seen at least, at random"
    )
    backbone: str = flag("note", "network that sees one patch")
    objective: str = flag("perturbed", "what is learnt from; perturbed is the closed form")
    sigma: float = flag(
        1.0,
        "noise of the perturbed rank in the Fenchel-Young loss",
        objective=("perturbed", "perturbed_samples"),
    )
    num_samples: int = flag(1, "draws of the noise at each step", objective=("perturbed_samples",))
    strength: float = flag(1.0, "how soft the ranks are", objective=("soft_rank", "soft_rank_kl"))
    num_permutations: int = flag(
        100, "size of the fixed set that is told apart", objective=("cross_entropy",)
    )
    temperature: float = flag(0.1, "of the similarities of views", objective=("contrastive",))
    evaluate_every: int = flag(500, "steps between evaluations, each with a checkpoint")
    save_every_steps: int = flag(0, "steps between further checkpoints, 0 for none")
    save_every_minutes: float = flag(5.0, "minutes after which a checkpoint is due, 0 for none")
    # Nobody asks beforehand for the state of last week; a file a day is no burden.
    keep_every_hours: float = flag(
        24.0, "hours after which a checkpoint is kept for good, beside the newest 3, 0 for none"
    )
    data_service: str = flag("", "address of a tf.data service, such as grpc://host:5050")
    hidden_units: int = flag(256, "width of the first fully connected layer, the embedding fc")
    embedding: str = "levels"
    window_ms: float = 64.0
    stride_ms: float = 32.0
    fft_length: int = 2048
    num_mel_bins: int | None = 120  # None for linear bins.
    floor: float = 1e-3
    max_shift: int = flag(0, "time steps by which sounds begin later at most, at random")
    max_gain_db: float = flag(8.0, "decibels by which sounds are louder or softer at most")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        at_least_1 = ("steps", "batch_size", "evaluate_every", "num_patches", "hidden_units")
        refuse_below(self, (*at_least_1, "num_samples", "num_permutations"), 1)
        refuse_below(self, ("gap", "jitter", "save_every_steps", "warmup_steps"), 0)
        refuse_below(self, ("max_shift", "max_gain_db"), 0)
        for name in ("max_gain_db", "min_snr_db"):
            if not math.isfinite(getattr(self, name) or 0):
                raise UserError(f"--{name} must be a number. Received: {getattr(self, name)}.")
        # Without a cosine more steps may come later.
        if self.schedule == "cosine" and self.warmup_steps >= self.steps:
            raise UserError(
                f"--warmup_steps must be below --steps={self.steps} with --schedule=cosine. "
                f"Received: {self.warmup_steps}."
            )
        for name in ("save_every_minutes", "keep_every_hours"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be 0 or more. Received: {getattr(self, name)}.")
        refuse_below(self, ("image_size", "num_frames", "sample_rate", "window_samples"), 1)
        if self.channels not in (1, 3):
            raise UserError(f"--channels must be 1 or 3. Received: {self.channels}.")
        if self.objective == "contrastive" and self.batch_size < 2:
            raise UserError(
                "--batch_size must be at least 2 for --objective=contrastive. Received: "
                f"{self.batch_size}."
            )
        for name in ("min_time", "min_frequency", "min_area", "data_share"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(
                    f"--{name} must be above 0 and at most 1. Received: {getattr(self, name)}."
                )
        if self.grid and min(self.grid) < 1:
            raise UserError(f"--grid must be numbers above 0, such as 3,3. Received: {self.grid}.")
        if self.total_patches < 2:
            raise UserError(
                "There must be 2 patches or more, one alone is always in order: set --num_patches "
                f"or --grid. Received: {self.total_patches}."
            )
        if self.objective == "cross_entropy" and self.num_permutations < 2:
            raise UserError(
                "--num_permutations must be at least 2, for each is a class. Received: "
                f"{self.num_permutations}."
            )
        for name in ("learning_rate", "sigma", "strength", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be above 0. Received: {getattr(self, name)}.")
        check_seed(self)

    @property
    def total_patches(self):
        """Number of patches that are put in order."""
        return math.prod(self.grid) if self.grid else self.num_patches


# What may be other when a run goes on, for the weights of a step do not depend on it: where data
# come from, and how often it is saved. `steps` may grow.
MAY_CHANGE = (
    *("steps", "save_every_steps", "save_every_minutes", "keep_every_hours"),
    *("folder", "cache_dir", "soundfont", "data_dir", "data_service"),
)

# How examples vary, of the one kind and of the others.
OF_SOUNDS = ("max_shift", "max_gain_db", "min_snr_db", "min_time", "min_frequency")
OF_PICTURES = ("min_area",)
# Views of a contrastive learner are parts and shifts of its own.
NOT_OF_VIEWS = ("max_shift", "min_snr_db", "min_time", "min_frequency", "min_area")

# Choices of ours, which the run's records name as such.
NOT_STATED_IN_THE_PAPER = (
    *("floor", "gap", "hidden_units", "jitter", "max_gain_db", "max_shift", "min_area"),
    *("min_frequency", "min_snr_db", "min_time", "normalize", "remainder"),
    *("num_samples", "seed", "sigma", "strength", "temperature"),
)
