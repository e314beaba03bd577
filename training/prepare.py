"""Prepares a data set: renders notes, which others otherwise do at first use, or downloads one.

Example:
  python -m training.prepare --data=cifar10
"""

from training import flags
from training.config import DataConfig, changed
from training.data import DATA_SETS
from training.errors import UserError


def main():
    config = changed(DataConfig(), flags.given(DataConfig))
    if config.validation:
        raise UserError(
            "--validation is for training.pretrain, training.transfer and training.reproduce: what "
            "is prepared holds all splits."
        )
    from training.data import sets

    builder = sets.prepare(config)
    if builder is None:
        print(f"{config.data} needs no preparation: programs make or decode it at first use.")
        return 0
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    print(f"{config.data}: {sizes} in {builder.data_dir} ({builder.info.dataset_size})")
    return 0


if __name__ == "__main__":
    flags.define(DataConfig, data=list(DATA_SETS))
    flags.run(main)
