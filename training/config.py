"""Everything that a run depends on, in frozen dataclasses; defaults live here alone."""

import dataclasses
import math
import re

from training.data import PUBLISHED, PUBLISHED_PICTURES, PUBLISHED_SOUNDS
from training.errors import UserError


def _flag(default, help_text, is_path=False, **only):
    """A field that the command line can set.

    Args:
        default: Its value.
        help_text: What it is.
        is_path: Whether it names a file or a folder.
        **only: Values of other fields with which it does something.
    """
    return dataclasses.field(
        default=default, metadata={"help": help_text, "is_path": is_path, "only": only}
    )


def changed(config, changes):
    """A config with what the user set.

    Raises:
        UserError: If something that was set would do nothing.
    """
    if "grid" in changes and {"axis", "num_patches"} & set(changes):
        raise UserError(
            "--grid takes the place of --axis and --num_patches: give one or the other."
        )
    if {"axis", "num_patches"} & set(changes):
        changes = {"grid": (), **changes}  # Of a recipe that has one.
    config = dataclasses.replace(config, **changes)
    for field in dataclasses.fields(config):
        for name, values in field.metadata.get("only", {}).items():
            if field.name in changes and getattr(config, name) not in values:
                raise UserError(
                    f"--{field.name} is for --{name}={' or '.join(values)}. Received: "
                    f"--{name}={getattr(config, name)}."
                )
    return config


def _refuse(config, names, at_least):
    for name in names:
        if getattr(config, name) < at_least:
            raise UserError(
                f"--{name} must be at least {at_least}. Received: {getattr(config, name)}."
            )


def _check_seed(config):
    if not 0 <= config.seed < 2**31:
        raise UserError(f"--seed must be from 0 to 2**31 - 1. Received: {config.seed}.")


FOLDERS = ("folder", "nsynth")
DECODED = ("folder", *PUBLISHED)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which examples to use."""

    data: str = _flag("notes", "data set")
    folder: str = _flag(
        "", "of your own sounds, pictures or clips, or an extracted NSynth", True, data=FOLDERS
    )
    cache_dir: str = _flag(
        "", "where decoded data lie, instead of ~/.cache/keras_s2l", True, data=DECODED
    )
    soundfont: str = _flag(
        "", "a .sf2 bank to render notes from, instead of the one installed", True, data=("notes",)
    )
    data_dir: str = _flag(
        *("", "where prepared data sets lie, instead of your TFDS folder", True),
        data=("notes", *PUBLISHED),
    )


AXES = ("frequency", "time", "height", "width", "frames")
REMAINDERS = ("error", "crop", "pad")
BACKBONES = ("note", "alexnet", "image", "clip")
OBJECTIVES = (
    *("perturbed", "perturbed_samples", "soft_rank", "soft_rank_kl"),
    *("mean_squared_error", "cross_entropy", "contrastive"),
)


STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class PretrainConfig(DataConfig):
    """A pre-training run."""

    image_size: int = _flag(
        64, "pixels that pictures and clips are brought to", data=("folder", *PUBLISHED_PICTURES)
    )
    num_frames: int = _flag(
        16, "frames that are taken of a clip, evenly spaced", data=("folder", "ucf101")
    )
    channels: int = _flag(
        3, "of pictures and clips: 1, gray, or 3", data=("folder", *PUBLISHED_PICTURES)
    )
    sample_rate: int = _flag(
        16000, "samples a second that sounds are brought to", data=("folder", *PUBLISHED_SOUNDS)
    )
    window_samples: int = _flag(
        16000, "samples of the windows that sounds are cut into", data=("folder", *PUBLISHED_SOUNDS)
    )

    recipe: str = _flag("notes", "named settings; the other flags change them")
    steps: int = _flag(5000, "training steps in all; more of them continue a finished run")
    batch_size: int = _flag(64, "examples in a step, over all devices")
    learning_rate: float = _flag(1e-3, "of Adam")
    schedule: str = _flag(
        "constant", "of the learning rate: cosine has it fall to 0 along half a cosine"
    )
    warmup_steps: int = _flag(0, "steps in which the learning rate first rises from 0")
    strategy: str = _flag(
        "none",
        "devices to train on: none, one; mirrored, all GPUs of this machine; multi_worker, those "
        "of all machines of TF_CONFIG or a Slurm step; tpu, all cores",
    )
    precision: str = _flag("float32", "of the network; weights and losses are float32 in all")
    jit_compile: bool = _flag(False, "have XLA compile the training step")
    seed: int = _flag(0, "all weights, orders of examples and permutations follow from it")
    axis: str = _flag("frequency", "what is cut: frequency, time, height, width or frames")
    num_patches: int = _flag(10, "number of patches along the axis that are put in order")
    grid: tuple[int, ...] = _flag(
        (), "in place of axis and num_patches the numbers of patches of a grid, such as 3,3"
    )
    remainder: str = _flag("error", "where an axis does not divide: error, or crop or pad its end")
    gap: int = _flag(0, "steps, bins, pixels or frames left out between patches")
    jitter: int = _flag(0, "room within which each patch moves, in the same unit")
    normalize: bool = _flag(False, "bring each patch to mean 0 and standard deviation 1")
    min_area: float = _flag(
        1.0, "share of the area of pictures and clips that is seen at least, at random"
    )
    backbone: str = _flag("note", "network that sees one patch")
    objective: str = _flag("perturbed", "what is learnt from; perturbed is the closed form")
    sigma: float = _flag(
        1.0,
        "noise of the perturbed rank in the Fenchel-Young loss",
        objective=("perturbed", "perturbed_samples"),
    )
    num_samples: int = _flag(1, "draws of the noise at each step", objective=("perturbed_samples",))
    strength: float = _flag(1.0, "how soft the ranks are", objective=("soft_rank", "soft_rank_kl"))
    num_permutations: int = _flag(
        100, "size of the fixed set that is told apart", objective=("cross_entropy",)
    )
    temperature: float = _flag(0.1, "of the similarities of views", objective=("contrastive",))
    evaluate_every: int = _flag(500, "steps between evaluations, each with a checkpoint")
    save_every_steps: int = _flag(0, "steps between further checkpoints, 0 for none")
    save_every_minutes: float = _flag(5.0, "minutes after which a checkpoint is due, 0 for none")
    data_service: str = _flag("", "address of a tf.data service, such as grpc://host:5050")
    hidden_units: int = 256
    embedding: str = "levels"
    window_ms: float = 64.0
    stride_ms: float = 32.0
    fft_length: int = 2048
    num_mel_bins: int | None = 120  # None for linear bins.
    floor: float = 1e-3
    max_shift: int = 6  # Time steps.
    max_gain_db: float = 8.0

    def check(self):
        """Raises `UserError` for numbers out of range."""
        at_least_1 = ("steps", "batch_size", "evaluate_every", "num_patches")
        _refuse(self, (*at_least_1, "num_samples", "num_permutations"), 1)
        _refuse(self, ("gap", "jitter", "save_every_steps", "warmup_steps"), 0)
        if self.warmup_steps and self.warmup_steps >= self.steps:
            raise UserError(
                f"--warmup_steps must be below --steps={self.steps}. Received: {self.warmup_steps}."
            )
        if not 0 <= self.save_every_minutes < math.inf:
            raise UserError(
                f"--save_every_minutes must be 0 or more. Received: {self.save_every_minutes}."
            )
        _refuse(self, ("image_size", "num_frames", "sample_rate", "window_samples"), 1)
        if self.channels not in (1, 3):
            raise UserError(f"--channels must be 1 or 3. Received: {self.channels}.")
        if self.objective == "contrastive" and self.batch_size < 2:
            raise UserError("--batch_size must be at least 2 for --objective=contrastive.")
        if not 0 < self.min_area <= 1:
            raise UserError(f"--min_area must be above 0 and at most 1. Received: {self.min_area}.")
        if self.grid and min(self.grid) < 1:
            raise UserError(f"--grid must be numbers above 0, such as 3,3. Received: {self.grid}.")
        if self.total_patches < 2:
            raise UserError("There must be 2 patches or more: one alone is always in order.")
        if self.objective == "cross_entropy" and self.num_permutations < 2:
            raise UserError("--num_permutations must be at least 2, for each is a class.")
        for name in ("learning_rate", "sigma", "strength", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name} must be above 0. Received: {getattr(self, name)}.")
        _check_seed(self)

    @property
    def total_patches(self):
        """Number of patches that are put in order."""
        return math.prod(self.grid) if self.grid else self.num_patches


# What may be other when a run goes on, for the weights of a step do not depend on it: where data
# come from, and how often it is saved. `steps` may grow.
MAY_CHANGE = (
    *("steps", "save_every_steps", "save_every_minutes"),
    *("folder", "cache_dir", "soundfont", "data_dir", "data_service"),
)

# Choices of ours, which the run's records name as such.
NOT_STATED_IN_THE_PAPER = (
    *("floor", "gap", "hidden_units", "jitter", "max_gain_db", "max_shift", "min_area"),
    "normalize",
    *("num_samples", "seed", "sigma", "strength", "temperature"),
)


HEADS = ("mlp", "linear")
PROTOCOLS = ("frozen", "finetune", "supervised")


@dataclasses.dataclass(frozen=True)
class TransferConfig(DataConfig):
    """A transfer run. What its encoder takes says how files are decoded."""

    encoder: str = _flag("", "folder that export.export_encoder made", True)
    num_labels: tuple[int, ...] = _flag((500, 1000, 5000), "sizes of the labelled sets")
    seeds: int = _flag(5, "draws of each labelled set")
    seed: int = _flag(0, "all draws, heads and the untrained encoder follow from it")
    protocol: str = _flag(
        "frozen",
        "frozen: heads on the encoder as it is; finetune: encoder and head trained together, "
        "beside the same from fresh weights; supervised: from fresh weights alone",
    )
    head: str = _flag("mlp", "a perceptron of three layers, as in the paper, or a linear probe")
    head_units: int = _flag(128, "width of the two hidden layers of the head", head=("mlp",))
    head_steps: int = _flag(300, "training steps of each head, or of encoder and head together")
    learning_rate: float = _flag(1e-3, "of Adam, falling to 0 along half a cosine")
    head_weight_decay: float = 10.0  # Times the learning rate, a step.
    head_batch_size: int = 128

    def check(self):
        """Raises `UserError` for numbers out of range."""
        _refuse(self, ("seeds", "head_steps", "head_units"), 1)
        for name, known in (("protocol", PROTOCOLS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise UserError(
                    f"--{name} must be {' or '.join(known)}. Received: {getattr(self, name)}."
                )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"--learning_rate must be above 0. Received: {self.learning_rate}.")
        if not self.num_labels or min(self.num_labels) < 1:
            raise UserError(f"--num_labels must be at least 1. Received: {self.num_labels}.")
        _check_seed(self)


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """The main job. What is `None` is left to the programs that it runs."""

    data_dir: str | None = _flag(
        None, "where prepared data sets lie, instead of your TFDS folder", True
    )
    steps: int | None = _flag(None, "training steps, instead of the recipe's")
    num_labels: tuple[int, ...] | None = _flag(None, "sizes of the labelled sets")
    seeds: int | None = _flag(None, "draws of each labelled set")
    seed: int | None = _flag(None, "everything follows from it")

    def check(self):
        """Raises `UserError` for what a later phase would refuse."""
        given = {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        for config_class in (PretrainConfig, TransferConfig):
            names = {field.name for field in dataclasses.fields(config_class)}
            config_class(**{name: given[name] for name in names & set(given)}).check()


@dataclasses.dataclass(frozen=True)
class BenchmarkTrainingConfig:
    """A benchmark of training steps. The data set is the recipe's."""

    recipe: str = _flag("notes", "what is trained")
    soundfont: str = _flag(
        "", "a .sf2 bank to render notes from, instead of the one installed", True
    )
    data_dir: str = _flag("", "where prepared data sets lie, instead of your TFDS folder", True)
    num_permutations: tuple[int, ...] = _flag(
        (100, 1000, 10000), "sizes of the fixed sets that a cross-entropy is timed with"
    )
    rounds: int = _flag(7, "times that all objectives take turns; medians are reported")
    steps: int = _flag(10, "training steps in a turn")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        _refuse(self, ("rounds", "steps"), 1)
        if self.num_permutations and min(self.num_permutations) < 1:
            raise UserError(
                f"--num_permutations must be at least 1. Received: {self.num_permutations}."
            )


@dataclasses.dataclass(frozen=True)
class SoakConfig:
    """A run that is killed again and again."""

    pretrain: str = _flag("--recipe=notes", "flags of training.pretrain, but steps and workdir")
    minutes: float = _flag(60.0, "how long the run is disturbed")
    kill_seconds: tuple[int, ...] = _flag((60, 120), "shortest and longest time between kills")
    seed: int = _flag(0, "times and kinds of kills follow from it")

    def check(self):
        """Raises `UserError` for numbers out of range."""
        if len(self.kill_seconds) != 2 or not 0 < self.kill_seconds[0] <= self.kill_seconds[1]:
            raise UserError(
                "--kill_seconds must be two numbers above 0, the shorter one first, such as "
                f"60,120. Received: {','.join(map(str, self.kill_seconds))}."
            )
        if not self.kill_seconds[0] <= 60 * self.minutes < math.inf:
            raise UserError(
                f"--minutes must be long enough for a kill after {self.kill_seconds[0]} s. "
                f"Received: {self.minutes}."
            )
        _check_seed(self)


REGIMES = ("pooled", "mixed")
REGULARIZATIONS = ("l2", "kl")
BACKENDS = ("tensorflow", "jax")


@dataclasses.dataclass(frozen=True)
class BenchmarkRankingConfig:
    """A benchmark of the ranking ops."""

    cells: tuple[str, ...] = _flag(
        (
            *("1x8", "64x8", "256x10", "256x20", "1024x20"),
            *("4096x9", "128x100", "32x1000", "8x10000", "1x100000"),
        ),
        "sizes to time, rows x scores in a row",
    )
    regimes: tuple[str, ...] = _flag(
        REGIMES,
        "strength of the soft rank: pooled is 1, where a long row is one block; mixed is 4 / n, "
        "where it is many",
    )
    regularizations: tuple[str, ...] = _flag(REGULARIZATIONS, "kinds of soft rank")
    backend: str = _flag("tensorflow", "what our own ops run on")
    rounds: int = _flag(7, "times that all contenders of a cell take turns; medians are reported")
    seed: int = _flag(0, "the scores and the upstream gradient follow from it")

    def check(self):
        """Raises `UserError` for unknown words and numbers out of range."""
        for name, known in (("regimes", REGIMES), ("regularizations", REGULARIZATIONS)):
            unknown = sorted(set(getattr(self, name)) - set(known))
            if unknown or not getattr(self, name):
                raise UserError(
                    f"--{name} must be some of {','.join(known)}. "
                    f"Received: {','.join(getattr(self, name))}."
                )
        self.sizes()
        _refuse(self, ("rounds",), 1)
        _check_seed(self)

    def sizes(self):
        """The cells as pairs of whole numbers, batch and n, each once."""
        if not self.cells:
            raise UserError("--cells must name at least one size, such as 256x10.")
        for cell in self.cells:
            if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", cell):
                raise UserError(
                    "--cells must be sizes such as 256x10,1024x20: rows, x, scores in a row. "
                    f"Received: {','.join(self.cells)}."
                )
        return [tuple(map(int, cell.split("x"))) for cell in dict.fromkeys(self.cells)]
