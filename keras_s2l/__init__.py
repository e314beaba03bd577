"""Self-supervised pre-training by shuffling to learn, and differentiable ranking, for Keras 3."""

from keras_s2l._version import __version__
from keras_s2l.frontends import LogSpectrogram
from keras_s2l.patches import Patches
from keras_s2l.permutations import fixed_permutations
from keras_s2l.shuffle import PatchShuffle, shuffle_patches, unshuffle_patches
from keras_s2l.normalization import FusedBatchNormalization
from keras_s2l.encoders import PatchEncoder
from keras_s2l.backbones import PerFrame, alexnet_backbone, clip_backbone
from keras_s2l.backbones import image_backbone, note_backbone
from keras_s2l.ranking.hard_rank import hard_rank
from keras_s2l.ranking.isotonic_regression import isotonic_regression
from keras_s2l.ranking.soft_rank import SoftRank, soft_rank
from keras_s2l.ranking.soft_sort import soft_sort
from keras_s2l.ranking.strengths import RankStrengths, rank_strengths
from keras_s2l.ranking.perturbed_rank import PerturbedRank, perturbed_rank
from keras_s2l.losses import FenchelYoungRankLoss, SoftRankLoss
from keras_s2l.losses import PermutationCrossEntropy, ScoreMeanSquaredError
from keras_s2l.metrics import ExactOrderAccuracy, KendallTau, PatchAccuracy, SpearmanRho
from keras_s2l.precise_statistics import PreciseBatchStatistics
from keras_s2l.multi_worker import MultiWorkerFit
from keras_s2l.model import ShuffleToLearn
from keras_s2l.waveforms import WaveformEncoder
from keras_s2l.handles import moved_handles
from keras_s2l.hub import HubEncoder
from keras_s2l.encoder_files import load_encoder
from keras_s2l.pretrained_encoders import pretrained
