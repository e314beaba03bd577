"""What is read as a label, and what is refused, against the plain definition of a ranking."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l._orders import are_rankings, order_and_mask
from tests import references

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOOD = [[2, 0, 1, 3], [-1, 1, -1, 0], [-1, -1, -1, -1], [0, -1, -1, -1]]
# What is wrong, a row that is, and what its error says.
BAD = {
    "1-based": ([3, 1, 2, 4], "these are 1-based and ranks are 0-based: subtract 1"),
    "1-based and masked": ([2, -1, 1, -1], "subtract 1"),
    "1-based and one slot": ([-1, -1, 1, -1], "subtract 1"),
    "repeated": ([0, 2, 2, 3], "here 2 is repeated"),
    "repeated and masked": ([0, -1, 0, 1], "here 0 is repeated"),
    "too large": ([0, 1, 2, 4], "here m = 4, so 4 is out of the range 0 … 3"),
    "too large for its slots": ([0, -1, -1, 3], "here m = 2, so 3 is out of the range 0 … 1"),
    "fraction": ([0.0, 0.5, 2.0, 3.0], "these are not whole numbers"),
    "not a number": ([0.0, np.nan, 2.0, 3.0], "these are not whole numbers"),
    "infinite": ([0.0, 1.0, 2.0, np.inf], "these are not whole numbers"),
    "negative": ([0, 1, -2, -1], "mark absent slots with -1, no other negative number"),
}
FORMS = {"array": np.array, "list": np.ndarray.tolist, "tensor": tf.constant}


def scores_like(order):
    return np.zeros(np.shape(order), "float32")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "dtype", ["int8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_a_label_of_any_dtype_gives_its_integers_and_its_mask(dtype, form):
    label = FORMS[form](np.array(GOOD).astype(tf.as_dtype(dtype).as_numpy_dtype))
    order, mask = order_and_mask(label, scores_like(GOOD))
    assert order.dtype == "int32" and mask.dtype == "bool"
    np.testing.assert_array_equal(order, GOOD)
    np.testing.assert_array_equal(mask, np.array(GOOD) != -1)


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_labels_that_cannot_be_negative_are_all_present(dtype):
    order, mask = order_and_mask(np.array([[1, 0], [0, 1]], dtype), np.zeros((2, 2)))
    np.testing.assert_array_equal(order, [[1, 0], [0, 1]])
    assert np.all(mask)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mistake", BAD)
def test_a_label_that_is_no_ranking_is_refused_with_its_row_and_how_to_mend_it(mistake, form):
    row, message = BAD[mistake]
    label = np.array([*GOOD, row, [9, 9, 9, 9]])
    with pytest.raises(ValueError) as error:
        order_and_mask(FORMS[form](label), scores_like(label))
    assert message in str(error.value)
    assert f"Received: row 4 of `order` is {label[4].tolist()}" in str(error.value)


def test_a_rank_too_large_for_int32_is_not_wrapped_round():
    with pytest.raises(ValueError, match="out of the range"):
        order_and_mask(np.array([[2**32, 1]]), np.zeros((1, 2)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(0, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-2, n), min_size=n, max_size=n),
            min_size=1,
            max_size=3,
        )
    )
)
def test_labels_are_refused_just_where_they_are_no_rankings(rows):
    label = np.array(rows)
    assert list(are_rankings(label)) == [references.is_order(ranks) for ranks in rows]
    wrong = [row for row, ranks in enumerate(rows) if not references.is_order(ranks)]
    if not wrong:
        order_and_mask(label, scores_like(label))
        return
    with pytest.raises(ValueError, match=f"row {wrong[0]} of `order`"):
        order_and_mask(label, scores_like(label))


@pytest.mark.parametrize(
    ("order", "scores"),
    [((2, 3), (2, 4)), ((2, 3), (4, 3)), ((3,), (3,)), ((2, 3), (2, 3, 1)), ((2, 3, 1), (2, 3, 1))],
)
def test_other_shapes_are_refused_by_name(order, scores):
    with pytest.raises(ValueError) as error:
        order_and_mask(np.zeros(order, int), np.zeros(scores))
    assert "`order` must give one rank for each score" in str(error.value)
    assert f"Received: order of shape {order}, scores of shape {scores}" in str(error.value)


def test_an_empty_batch_has_nothing_to_refuse():
    order, mask = order_and_mask(np.zeros((0, 3), int), np.zeros((0, 3)))
    assert order.shape == mask.shape == (0, 3)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("sizes", [[None, 4], [None, None]])
def test_compiled_steps_take_unknown_sizes_and_cannot_see_the_labels(sizes, jit):
    signature = [tf.TensorSpec(sizes, tf.float32), tf.TensorSpec([None, 4], tf.float32)]
    step = tf.function(order_and_mask, input_signature=signature, jit_compile=jit)
    for label in (np.float32(GOOD), np.float32([[1, 2, 3, 4]])):
        order, mask = step(label, scores_like(label))
        np.testing.assert_array_equal(order, label)
        np.testing.assert_array_equal(mask, label != -1)


def test_arrays_are_seen_while_a_step_is_traced():
    @tf.function
    def step(scores):
        return order_and_mask(np.array([[1, 2]]), scores)

    with pytest.raises(ValueError, match="subtract 1"):
        step(tf.zeros((1, 2)))


def test_stand_ins_for_labels_are_not_looked_at_while_keras_infers_shapes():
    ones = tf.ones((2, 4))
    with keras.SymbolicScope():
        order_and_mask(ones, ones)
    with pytest.raises(ValueError, match="is repeated"):
        order_and_mask(ones, ones)


ON_JAX = """
import jax, jax.numpy as jnp, numpy as np, pytest
from keras_s2l._orders import are_rankings, order_and_mask
scores = np.zeros((2, 3), "float32")
good, bad = [[2, 0, 1], [-1, 0, -1]], [[2, 0, 1], [3, 1, 2]]
for form in (np.array, jnp.array, list):
    order, mask = order_and_mask(form(good), scores)
    assert order.dtype == "int32" and mask.dtype == "bool"
    assert order.tolist() == good and np.array_equal(mask, np.array(good) != -1)
    with pytest.raises(ValueError, match="row 1 .* is .3, 1, 2."):
        order_and_mask(form(bad), scores)
with pytest.raises(ValueError, match="scores of shape .2, 3."):
    order_and_mask([[0, 1]], scores)
assert jax.jit(order_and_mask)(jnp.array(bad), scores)[0].tolist() == bad
assert jax.jit(are_rankings)(jnp.array(bad)).tolist() == [True, False]
"""


@pytest.mark.slow
def test_reads_and_refuses_alike_on_jax_where_tensorflow_cannot_be_imported():
    output = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['tensorflow'] = None\n" + ON_JAX],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
    )
    assert output.returncode == 0, output.stderr
