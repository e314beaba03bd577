"""Fixed sets of permutations against the greedy choice spelt out."""

import itertools
import math

import numpy as np
import pytest

from keras_s2l import PatchShuffle, PermutationCrossEntropy, fixed_permutations


def distances(permutations):
    """Hamming distances of all pairs."""
    table = np.asarray(permutations)
    return (table[:, None] != table[None]).sum(axis=2)[np.triu_indices(len(table), 1)]


@pytest.mark.parametrize("num_permutations, num_patches", [(24, 4), (30, 5), (60, 6), (100, 20)])
def test_rows_are_distinct_permutations(num_permutations, num_patches):
    permutations = fixed_permutations(num_permutations, num_patches)
    assert permutations.shape == (num_permutations, num_patches)
    assert permutations.dtype == np.int32
    np.testing.assert_array_equal(
        np.sort(permutations, axis=1), np.tile(np.arange(num_patches), (num_permutations, 1))
    )
    assert len(np.unique(permutations, axis=0)) == num_permutations


@pytest.mark.parametrize("num_patches", [3, 4, 5])
def test_each_is_as_far_as_can_be_from_those_before(num_patches):
    chosen = fixed_permutations(12 if num_patches > 3 else 6, num_patches, seed=3)
    everything = list(itertools.permutations(range(num_patches)))
    for number in range(1, len(chosen)):
        before = [tuple(row) for row in chosen[:number]]

        def farness(candidate, before=before):
            apart = [sum(a != b for a, b in zip(candidate, other)) for other in before]
            return min(apart), sum(apart)

        best = max(farness(candidate) for candidate in everything)
        assert farness(tuple(chosen[number])) == best


@pytest.mark.parametrize("num_permutations, num_patches", [(100, 9), (100, 10), (1000, 10)])
def test_they_differ_in_more_places_than_random_ones(num_permutations, num_patches):
    apart = distances(fixed_permutations(num_permutations, num_patches))
    random = np.random.default_rng(0).permuted(
        np.tile(np.arange(num_patches), (num_permutations, 1)), axis=1
    )
    assert apart.min() >= num_patches - 4 > distances(random).min()
    assert apart.mean() > distances(random).mean()


def test_as_many_as_patches_can_differ_in_every_place():
    # A Latin square exists; the greedy choice finds at least the first few of its rows.
    assert distances(fixed_permutations(4, 8)).min() == 8


def test_the_set_follows_from_the_seed():
    first = fixed_permutations(50, 10, seed=1)
    np.testing.assert_array_equal(first, fixed_permutations(50, 10, seed=1))
    assert (first != fixed_permutations(50, 10, seed=2)).any()


def test_the_example_of_the_docstring():
    permutations = fixed_permutations(100, 10)
    _, order = PatchShuffle(permutations=permutations)(np.zeros((5, 10, 2)))
    loss = PermutationCrossEntropy(permutations)(order, np.zeros((5, 100), "float32"))
    np.testing.assert_allclose(loss, math.log(100), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((7, 3), r"`num_permutations` must be at most 3! = 6. Received: num_permutations=7"),
        ((0, 3), "`num_permutations` must be a positive integer"),
        ((2, 0), "`num_patches` must be a positive integer"),
        ((2, 3, -1), "`seed` must be an integer from 0 on. Received: seed=-1"),
        ((2, 3, None), "`seed` must be an integer from 0 on. Received: seed=None"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fixed_permutations(*arguments)


def test_all_permutations_of_a_length_may_be_asked_for():
    permutations = fixed_permutations(5040, 7)
    assert len(np.unique(permutations, axis=0)) == 5040
