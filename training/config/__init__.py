"""Everything that a run depends on, in frozen dataclasses; defaults live here alone."""

from training.config.benchmark_ranking import BACKENDS, BenchmarkRankingConfig
from training.config.benchmark_training import BenchmarkTrainingConfig
from training.config.data import DataConfig
from training.config.demo import DemoConfig
from training.config.devices import STRATEGIES, DevicesConfig
from training.config.fields import changed
from training.config.pretrain import (
    AXES,
    BACKBONES,
    MAY_CHANGE,
    NOT_OF_VIEWS,
    NOT_STATED_IN_THE_PAPER,
    OBJECTIVES,
    OF_PICTURES,
    OF_SOUNDS,
    PRECISIONS,
    REMAINDERS,
    SCHEDULES,
    PretrainConfig,
)
from training.config.reproduce import ReproduceConfig
from training.config.soak import SoakConfig
from training.config.transfer import (
    ENCODERS,
    HEAD_NOT_STATED_IN_THE_PAPER,
    HEADS,
    PROTOCOLS,
    TransferConfig,
)
