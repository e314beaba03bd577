"""Which devices compute."""

import dataclasses

from training.config.fields import flag

STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
    """Which devices compute."""

    strategy: str = flag(
        "none",
        "devices to train on: none, one; mirrored, all GPUs of this machine; multi_worker, those "
        "of all machines of TF_CONFIG, a Slurm step or a Kubernetes job; tpu, all cores",
    )
