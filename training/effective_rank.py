"""How many directions embeddings spread over: a measure of collapse that needs no labels."""

import numpy as np

from training import heads

MOST = 1000  # Embeddings that are looked at: their number bounds the rank, and its time.


def effective_rank(embeddings):
    """The exponential of the entropy of the singular values, of features at one scale.

    Args:
        embeddings: Array `(examples, dimensions)`; of more than 1000 examples as many are drawn,
            always the same ones. The first would be of few classes where the classes are in order.

    Returns:
        From 1, all in one direction, to the smaller one of examples and dimensions; 0 where all
        embeddings are the same.

    Reference: Roy and Vetterli, 2007, "The Effective Rank"; Garrido et al., 2023, "RankMe", which
    chooses encoders by it, https://arxiv.org/abs/2210.02885
    """
    count = min(len(embeddings), MOST)
    drawn = np.random.default_rng(0).choice(len(embeddings), count, replace=False)
    some = np.asarray(embeddings[drawn], "float64")
    center, scale = heads.center_and_scale(some)
    singular = np.linalg.svd((some - center) / scale, compute_uv=False)
    if not singular.any():
        return 0.0
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
