"""A fixed set of permutations that differ much from each other: the classes of a jigsaw puzzle."""

import itertools
import math

import numpy as np

from keras_s2l import _checks

MOST_CANDIDATES = 50_000  # All of 8! and fewer; of more permutations so many are drawn.


def fixed_permutations(num_permutations, num_patches, seed=0):
    """Permutations chosen one by one, each as far as can be from those chosen before.

    The distance of two permutations is the number of places where they differ (Hamming). Of all
    candidates the one is taken whose least distance is largest, and among those the one with the
    largest mean distance. Candidates are all `num_patches!` permutations, or where there are too
    many of them a random part.

    Args:
        num_permutations: How many.
        num_patches: Length of each.
        seed: Integer from which the set follows.

    Returns:
        int32 `(num_permutations, num_patches)`, distinct rows.

    Raises:
        ValueError: If an argument is not a positive integer, the seed is below 0 or no integer, or
            there are fewer permutations.

    Example:
    >>> permutations = fixed_permutations(100, 10)
    >>> PatchShuffle(permutations=permutations), PermutationCrossEntropy(permutations)

    Reference: Noroozi and Favaro, 2016, section 4.1 and algorithm 1,
    https://arxiv.org/abs/1603.09246. How the paper chose its sets is not stated.
    """
    _checks.positive_int("num_permutations", num_permutations, "the paper has 100 and 1000")
    _checks.positive_int("num_patches", num_patches, "try 10")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"`seed` must be an integer from 0 on. Received: seed={seed!r}")
    if num_permutations > math.factorial(num_patches):
        raise ValueError(
            f"`num_permutations` must be at most {num_patches}! = {math.factorial(num_patches)}. "
            f"Received: num_permutations={num_permutations}"
        )
    random = np.random.default_rng([seed, num_patches])
    candidates = _candidates(num_patches, num_permutations, random)
    least = np.full(len(candidates), num_patches + 1, "int16")
    total = np.zeros(len(candidates), "int64")
    chosen = [int(random.integers(len(candidates)))]
    while len(chosen) < num_permutations:
        distances = (candidates != candidates[chosen[-1]]).sum(axis=1, dtype="int16")
        np.minimum(least, distances, out=least)  # 0 for those that are chosen.
        total += distances
        farthest = np.flatnonzero(least == least.max())
        chosen.append(int(farthest[total[farthest].argmax()]))
    return candidates[chosen].astype("int32")


def as_permutations(permutations):
    """The set as int32 `(num_permutations, n)`.

    Raises:
        ValueError: If the rows are not distinct permutations.
    """
    table = np.asarray(permutations)
    if table.ndim != 2 or (np.sort(table, axis=1) != np.arange(table.shape[1])).any():
        raise ValueError(
            "`permutations` must be integers (num_permutations, n), each row a permutation of "
            f"0 … n - 1. Received: permutations of shape {table.shape}"
        )
    distinct = len(np.unique(table, axis=0))
    if distinct < len(table):
        raise ValueError(
            "`permutations` must be distinct, for each is a class. Received: "
            f"{len(table)} permutations, {distinct} of them distinct"
        )
    return table.astype("int32")


def _candidates(num_patches, num_permutations, random):
    # All of them also where so many are wanted that drawing would not find them.
    if math.factorial(num_patches) <= max(MOST_CANDIDATES, 4 * num_permutations):
        return np.array(list(itertools.permutations(range(num_patches))), "int8")
    count = max(MOST_CANDIDATES, 2 * num_permutations)
    dtype = "int8" if num_patches < 128 else "int16"
    drawn = np.tile(np.arange(num_patches, dtype=dtype), (count, 1))
    while True:
        distinct = np.unique(random.permuted(drawn, axis=1), axis=0)
        if len(distinct) >= num_permutations:
            # `unique` sorts: ties are not to go to the smallest.
            return random.permutation(distinct)
