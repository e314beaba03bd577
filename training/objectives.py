"""What a run learns from, by the name of `--objective`."""

import functools

import keras_s2l


def make_loss(config):
    """The loss of a config, called as `loss(order, scores)`."""
    return {
        "perturbed": lambda: keras_s2l.FenchelYoungRankLoss(config.sigma),
        "perturbed_samples": lambda: keras_s2l.FenchelYoungRankLoss(
            config.sigma, num_samples=config.num_samples, seed=config.seed
        ),
        "soft_rank": lambda: keras_s2l.SoftRankLoss(config.strength),
        "soft_rank_kl": lambda: keras_s2l.SoftRankLoss(config.strength, "kl"),
        "mean_squared_error": keras_s2l.ScoreMeanSquaredError,
        "cross_entropy": lambda: keras_s2l.PermutationCrossEntropy(permutations(config)),
    }[config.objective]()


def permutations(config):
    """The fixed set of permutations that are the classes of a cross-entropy, None for others."""
    if config.objective != "cross_entropy":
        return None
    return _fixed_set(config.num_permutations, config.total_patches, config.seed)


# The model, its loss, the stream and the report all ask for it, and a large set takes seconds.
_fixed_set = functools.cache(keras_s2l.fixed_permutations)
