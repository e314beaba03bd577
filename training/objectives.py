"""What a run learns from, by the name of `--objective`."""

import functools

import keras

import keras_s2l
from training.contrastive import NTXentLoss


def is_contrastive(config):
    """Whether views are told apart; all other objectives put patches in order."""
    return config.objective == "contrastive"


def make_loss(config):
    """The loss of a config; the baselines differ from the method in this alone."""
    make = {
        "perturbed": lambda: keras_s2l.FenchelYoungRankLoss(config.sigma),
        "perturbed_samples": lambda: keras_s2l.FenchelYoungRankLoss(
            config.sigma, num_samples=config.num_samples, seed=config.seed
        ),
        "soft_rank": lambda: keras_s2l.SoftRankLoss(config.strength),
        "soft_rank_kl": lambda: keras_s2l.SoftRankLoss(config.strength, "kl"),
        "mean_squared_error": keras_s2l.ScoreMeanSquaredError,
        "cross_entropy": lambda: keras_s2l.PermutationCrossEntropy(permutations(config)),
        "contrastive": lambda: NTXentLoss(config.temperature),
    }
    return make[config.objective]()


def make_metrics(config):
    """What is measured beside the loss; the first one is what the run is judged by."""
    if is_contrastive(config):
        return [keras.metrics.SparseCategoricalAccuracy("view_accuracy")]
    return [keras_s2l.PatchAccuracy(), keras_s2l.ExactOrderAccuracy()]


def measured(config):
    """Of the first metric its name, what it is the share of, and what it is by chance."""
    if is_contrastive(config):
        chance = 1 / (2 * config.batch_size - 1)
        return "view_accuracy", "views told from those of other examples", chance
    return "patch_accuracy", "patches in their place", _chance_of_a_patch(config)


def _chance_of_a_patch(config):
    """One in n, or more if few permutations may come."""
    fixed = permutations(config)
    if fixed is None:
        return 1 / config.total_patches
    return max(float((fixed == guess).mean()) for guess in fixed)


def permutations(config):
    """The fixed set of permutations that are the classes of a cross-entropy, None for others."""
    if config.objective != "cross_entropy":
        return None
    return _fixed_set(config.num_permutations, config.total_patches, config.seed)


# The model, its loss, the stream and the report all ask for it, and a large set takes seconds.
_fixed_set = functools.cache(keras_s2l.fixed_permutations)
