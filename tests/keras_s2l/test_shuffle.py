"""Shuffled patches against a loop, and the law of the orders that are drawn."""

import collections
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keras_s2l import PatchShuffle, shuffle_patches, unshuffle_patches
from tests import references
from tests.layer_checks import check_layer
from tests.replicas import run_on_two_replicas


def _patches(*shape):
    return np.random.RandomState(0).randn(*shape).astype("float32")


def _orders(batch, num_patches, seed=0):
    random = np.random.RandomState(seed)
    return np.stack([random.permutation(num_patches) for _ in range(batch)])


@pytest.mark.parametrize("jit", [None, False, True])
@pytest.mark.parametrize("shape", [(5, 1, 2), (5, 2, 3), (5, 7), (5, 7, 3), (5, 4, 2, 3, 1)])
def test_slot_i_holds_patch_order_i(shape, jit):
    patches, order = _patches(*shape), _orders(*shape[:2])
    signature = [tf.TensorSpec([None, *shape[1:]]), tf.TensorSpec([None, shape[1]], tf.int64)]
    op = shuffle_patches
    if jit is not None:
        op = tf.function(op, input_signature=signature, jit_compile=jit)
    np.testing.assert_array_equal(op(patches, order), references.shuffled(patches, order))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_unshuffle_undoes_shuffle(batch, num_patches, seed):
    patches, order = _patches(batch, num_patches, 2), _orders(batch, num_patches, seed)
    restored = unshuffle_patches(shuffle_patches(patches, order), order)
    np.testing.assert_array_equal(restored, patches)


@pytest.mark.parametrize("jit", [None, False, True])
def test_layer_returns_the_order_by_which_it_shuffled(jit):
    patches = _patches(32, 6, 3)
    layer = PatchShuffle(seed=0)
    op = layer
    if jit is not None:
        op = tf.function(layer, input_signature=[tf.TensorSpec([None, 6, 3])], jit_compile=jit)
    shuffled, order = op(patches)
    assert order.dtype == tf.int32
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(6), (32, 1)))
    np.testing.assert_array_equal(shuffled, references.shuffled(patches, order.numpy()))


@pytest.mark.parametrize("training", [False, True])
def test_orders_differ_between_examples_and_calls(training):
    layer = PatchShuffle(seed=0)
    orders = [layer(_patches(50, 10), training=training)[1].numpy() for _ in range(2)]
    drawn = {tuple(order) for order in np.concatenate(orders)}
    assert len(drawn) == 100


def test_the_same_seed_gives_the_same_orders_and_another_seed_others():
    first, same, other = PatchShuffle(seed=1), PatchShuffle(seed=1), PatchShuffle(seed=2)
    for _ in range(2):
        orders = first(_patches(20, 10))[1].numpy()
        np.testing.assert_array_equal(same(_patches(20, 10))[1], orders)
        assert (other(_patches(20, 10))[1].numpy() != orders).any()


def test_layers_without_a_seed_draw_different_orders():
    one, other = (PatchShuffle()(_patches(20, 10))[1].numpy() for _ in range(2))
    assert (one != other).any()


@pytest.mark.parametrize("seed", [None, 3])
def test_reset_starts_the_orders_again(seed):
    layer = PatchShuffle(seed=seed)
    before = [layer(_patches(20, 10))[1].numpy() for _ in range(3)]
    layer.reset()
    after = [layer(_patches(20, 10))[1].numpy() for _ in range(3)]
    np.testing.assert_array_equal(after, before)


def test_each_permutation_is_drawn_equally_often():
    order = PatchShuffle(seed=0)(_patches(24000, 4))[1].numpy()
    counts = collections.Counter(map(tuple, order))
    observed = [counts[permutation] for permutation in itertools.permutations(range(4))]
    assert stats.chisquare(observed).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_a_given_order_is_used_and_costs_no_draw(dtype):
    patches, order = _patches(5, 4, 3), _orders(5, 4).astype(dtype)
    layer, untouched = PatchShuffle(seed=0), PatchShuffle(seed=0)
    shuffled, returned = layer(patches, order)
    np.testing.assert_array_equal(returned, order)
    np.testing.assert_array_equal(shuffled, references.shuffled(patches, order))
    np.testing.assert_array_equal(layer(patches)[1], untouched(patches)[1])


def test_sorting_the_patches_by_rank_restores_the_input():
    patches = _patches(5, 6, 3)
    shuffled, order = PatchShuffle(seed=0)(patches)
    restored = np.take_along_axis(shuffled.numpy(), np.argsort(order, axis=1)[:, :, None], axis=1)
    np.testing.assert_array_equal(restored, patches)


@pytest.mark.slow
def test_replicas_draw_different_orders():
    run_on_two_replicas("""
        with strategy.scope():
            layer = keras_s2l.PatchShuffle(seed=0)
        draw = tf.function(lambda: strategy.run(lambda: layer(tf.zeros((20, 10)))[1]))
        orders = []
        for _ in range(2):
            orders += [order.numpy() for order in strategy.experimental_local_results(draw())]
        assert len(orders) == 4
        assert len({tuple(row) for order in orders for row in order}) == 80
    """)


def test_a_fixed_set_is_drawn_from_evenly_and_nothing_else_is():
    permutations = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]])
    patches = _patches(3000, 4, 1)
    shuffled, order = PatchShuffle(seed=0, permutations=permutations)(patches)
    np.testing.assert_array_equal(shuffled, references.shuffled(patches, order.numpy()))
    drawn = collections.Counter(tuple(row) for row in order.numpy().tolist())
    assert set(drawn) == {tuple(row) for row in permutations.tolist()}
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_set_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`permutations` must be distinct"):
        PatchShuffle(permutations=[[0, 1], [0, 1]])
    with pytest.raises(ValueError, match=r"must have 2 patches, .* Received: 4 patches"):
        PatchShuffle(permutations=[[0, 1], [1, 0]])(_patches(5, 4, 1))


def test_a_fixed_set_passes_the_shared_check(tmp_path):
    permutations = [[0, 1, 2], [2, 1, 0]]
    check_layer(PatchShuffle(0, permutations), _patches(4, 3, 3), tmp_path)


def test_passes_the_shared_check(tmp_path):
    check_layer(PatchShuffle(seed=0), _patches(4, 6, 3), tmp_path)


@pytest.mark.parametrize("function", [shuffle_patches, unshuffle_patches])
@pytest.mark.parametrize("order", [[1, 2, 3], [0, 0, 1], [0, 1, -1], [0, 1, 3]])
def test_an_order_that_is_no_permutation_takes_no_patches_of_other_examples(function, order):
    patches = np.arange(6).reshape(2, 3)
    with pytest.raises(ValueError, match=r"`order` must .*row 1 of `order` is"):
        function(patches, np.array([[0, 1, 2], order]))


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_a_given_order_comes_back_as_int32(dtype):
    patches = np.arange(6).reshape(2, 3)
    order = np.array([[2, 0, 1], [1, 2, 0]])
    shuffled, returned = PatchShuffle()(patches, order.astype(dtype))
    assert keras.backend.standardize_dtype(returned.dtype) == "int32"
    np.testing.assert_array_equal(returned, order)
    np.testing.assert_array_equal(shuffled, np.take_along_axis(patches, order, axis=1))


def test_fractions_are_no_order():
    patches = np.arange(6).reshape(2, 3)
    with pytest.raises(ValueError, match="not whole numbers"):
        PatchShuffle()(patches, np.array([[0.5, 1.2, 2.9], [0.0, 1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"must have shape \(batch, num_patches\)"):
        shuffle_patches(patches, [0, 1, 2])
