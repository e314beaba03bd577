"""A transfer run."""

import dataclasses
import math

from training.config.data import DataConfig
from training.config.devices import STRATEGIES, DevicesConfig
from training.config.fields import check_seed, flag, refuse_below
from training.errors import UserError

HEADS = ("mlp", "linear")
PROTOCOLS = ("frozen", "finetune", "supervised")
OF_TRAINED_HEADS = (
    *("head_steps", "early_stopping", "learning_rate", "head_batch_size", "head_weight_decay"),
    *("strategy",),
)
FEWEST_TO_STOP = 5  # Labels: one of them is held out.
ENCODERS = ("pretrained", "untrained", "calibrated", "statistics")


# Choices of ours, which the records name as such: of the head the paper states its three layers.
HEAD_NOT_STATED_IN_THE_PAPER = (
    *("head_units", "head_steps", "learning_rate", "head_batch_size", "head_weight_decay"),
)


@dataclasses.dataclass(frozen=True)
class TransferConfig(DataConfig, DevicesConfig):
    """A transfer run. What its encoder takes says how files are decoded."""

    encoder: str = flag(
        "",
        "folder that export.export_encoder made, or name of one of keras_s2l.pretrained (a folder "
        "of that name is ./name)",
    )
    num_labels: tuple[int, ...] = flag((500, 1000, 5000), "sizes of the labelled sets")
    seeds: int = flag(5, "draws of each labelled set")
    seed: int = flag(0, "all draws, heads and the untrained encoder follow from it")
    protocol: str = flag(
        "frozen",
        "frozen: heads on the encoder as it is; finetune: encoder and head trained together, "
        "beside the same from fresh weights; supervised: from fresh weights alone",
    )
    embedding: str = flag(
        "",
        "of the encoder: levels, positions, patches, or fc, the paper's; if not given its own",
        protocol=("frozen", "supervised"),
    )
    encoders: tuple[str, ...] = flag(
        ENCODERS[:3],
        "which to measure: pretrained, the exported one; untrained, with fresh weights; "
        "calibrated, this one with the batch-norm statistics of unlabelled recordings; statistics, "
        "of sounds, no network but mean and deviation in time of each bin of its log spectrogram",
        protocol=("frozen",),
    )
    head: str = flag(
        "mlp",
        "mlp: a perceptron of three layers, as in the paper; linear: on a frozen encoder logistic "
        "regression, for numbers ridge regression, with the penalty that suits the labels, on one "
        "that is trained too a single layer",
    )
    head_units: int = flag(128, "width of the two hidden layers of the head", head=("mlp",))
    head_steps: int = flag(300, "training steps of each mlp, or of encoder and head together")
    early_stopping: bool = flag(
        False,
        "hold out a fifth of the labels and keep what is trained as it was when it told them best, "
        "as the paper stops early, in place of all steps on all labels",
    )
    learning_rate: float = flag(1e-3, "of AdamW, falling to 0 along half a cosine")
    head_batch_size: int = flag(128, "examples in a step, over all devices")
    head_weight_decay: float = flag(
        10.0,
        "of AdamW, times the learning rate at each step; for --embedding=fc, most of which hardly "
        "varies, give 3 with --head_steps=1000 --early_stopping",
    )

    def check(self):
        """Raises `UserError` for numbers out of range."""
        refuse_below(self, ("seeds", "head_steps", "head_batch_size", "head_units"), 1)
        choices = {"protocol": PROTOCOLS, "head": HEADS, "strategy": STRATEGIES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"--{name} must be {' or '.join(known)}. Received: {getattr(self, name)}."
                )
        if (self.protocol, self.head) == ("frozen", "linear"):
            for name in OF_TRAINED_HEADS:
                if getattr(self, name) != getattr(TransferConfig, name):
                    raise UserError(
                        f"--{name} does nothing with --head=linear on a frozen encoder, which "
                        f"scikit-learn fits: leave it out. Received: {getattr(self, name)}."
                    )
        if not 0 <= self.head_weight_decay < math.inf:
            raise UserError(
                f"--head_weight_decay must be at least 0. Received: {self.head_weight_decay}."
            )
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"--learning_rate must be above 0. Received: {self.learning_rate}.")
        if not self.num_labels or min(self.num_labels) < 1:
            raise UserError(f"--num_labels must be at least 1. Received: {self.num_labels}.")
        if self.early_stopping and min(self.num_labels) < FEWEST_TO_STOP:
            raise UserError(
                f"--num_labels must be at least {FEWEST_TO_STOP} with --early_stopping, which "
                f"holds out a fifth of them. Received: {self.num_labels}."
            )
        if not self.encoders or set(self.encoders) - set(ENCODERS):
            raise UserError(
                f"--encoders must be of {', '.join(ENCODERS)}. Received: {','.join(self.encoders)}."
            )
        check_seed(self)
