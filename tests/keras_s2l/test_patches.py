"""Patches against NumPy slices."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_s2l import Patches
from tests import references
from tests.layer_checks import check_layer

# The shape of an input that divides by 3 along `axis`, the name of the axis and its number.
NAMED_AXES = [
    ((2, 12), "time", 1),
    ((2, 6, 4, 1), "time", 1),
    ((2, 4, 6, 1), "frequency", 2),
    ((2, 6, 4, 3), "height", 1),
    ((2, 4, 6, 3), "width", 2),
    ((2, 6, 3, 4, 3), "frames", 1),
    ((2, 3, 6, 4, 3), "height", 2),
    ((2, 3, 4, 6, 3), "width", 3),
]
NUMBERED_AXES = [
    ((2, 6), 1, 1),
    ((2, 6), -1, 1),
    ((2, 4, 6), 2, 2),
    ((2, 6, 4), -2, 1),
    ((2, 4, 5, 6), 3, 3),
    ((2, 3, 4, 5, 6), 4, 4),
]


def _input(shape):
    return np.random.RandomState(0).randn(*shape).astype("float32")


@pytest.mark.parametrize("shape, axis, number", NAMED_AXES + NUMBERED_AXES)
def test_every_axis_matches_slices(shape, axis, number):
    inputs = _input(shape)
    layer = Patches(3, axis)
    patches = layer(inputs)
    np.testing.assert_array_equal(patches, references.patches(inputs, 3, number, "error"))
    assert patches.shape == layer.compute_output_shape(shape)


@pytest.mark.parametrize("remainder", ["crop", "pad"])
@pytest.mark.parametrize("size", [6, 7, 8, 9])
@pytest.mark.parametrize("shape, axis, number", NAMED_AXES)
def test_a_remainder_is_cropped_or_padded(shape, axis, number, size, remainder):
    shape = (*shape[:number], size, *shape[number + 1 :])
    inputs = _input(shape)
    layer = Patches(3, axis, remainder)
    patches = layer(inputs)
    np.testing.assert_array_equal(patches, references.patches(inputs, 3, number, remainder))
    assert patches.shape == layer.compute_output_shape(shape)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.data(),
)
def test_inverse_restores_the_input_exactly(num_patches, length, sizes, data):
    axis = data.draw(st.integers(1, len(sizes)))
    sizes[axis - 1] = num_patches * length
    inputs = _input((2, *sizes))
    layer = Patches(num_patches, axis)
    np.testing.assert_array_equal(layer.inverse(layer(inputs)), inputs)


@pytest.mark.parametrize("shape, axis, number", NAMED_AXES)
def test_inverse_undoes_every_named_axis(shape, axis, number):
    inputs = _input(shape)
    layer = Patches(3, axis)
    np.testing.assert_array_equal(layer.inverse(layer(inputs)), inputs)


def test_inverse_gives_the_cropped_or_padded_input():
    inputs = _input((2, 4, 7, 1))
    crop, pad = Patches(3, "frequency", "crop"), Patches(3, "frequency", "pad")
    np.testing.assert_array_equal(crop.inverse(crop(inputs)), inputs[:, :, :6])
    padded = np.concatenate([inputs, np.zeros((2, 4, 2, 1))], axis=2)
    np.testing.assert_array_equal(pad.inverse(pad(inputs)), padded)


@pytest.mark.parametrize("jit", [False, True])
def test_works_compiled_with_every_other_size_unknown(jit):
    inputs = _input((2, 5, 7, 1))
    layer = Patches(3, "frequency", "pad")
    signature = [tf.TensorSpec([None, None, 7, None])]
    compiled = tf.function(
        lambda x: (layer(x), layer.inverse(layer(x))), input_signature=signature, jit_compile=jit
    )
    patches, restored = compiled(inputs)
    np.testing.assert_array_equal(patches, references.patches(inputs, 3, 2, "pad"))
    np.testing.assert_array_equal(restored[:, :, :7], inputs)


def test_works_inside_a_data_pipeline():
    inputs = _input((4, 6, 4, 1))
    dataset = tf.data.Dataset.from_tensor_slices(inputs).batch(3).map(Patches(3, "time"))
    patches = np.concatenate([batch.numpy() for batch in dataset])
    np.testing.assert_array_equal(patches, references.patches(inputs, 3, 1, "error"))


def test_example_of_the_docstring():
    layer = Patches(num_patches=10, axis="frequency")
    assert layer(np.zeros((2, 98, 60, 1))).shape == (2, 10, 98, 6, 1)


@pytest.mark.parametrize("num_patches", [0, -1, 2.0, True, None])
def test_a_bad_number_of_patches_is_refused(num_patches):
    with pytest.raises(ValueError, match=r"`num_patches` must be a positive integer.*Received"):
        Patches(num_patches, "time")


def test_an_unknown_remainder_is_refused():
    with pytest.raises(ValueError, match=r"`remainder` must be one of .*Received: remainder='cut'"):
        Patches(3, "time", "cut")


@pytest.mark.parametrize(
    "shape, axis, message",
    [
        ((2, 12), "frequency", r"rank 2 must be a number from 1 to 1 or one of \['time'\]"),
        ((2, 6, 4, 1), "frames", r"rank 4 must be a number .*Received: axis='frames'"),
        ((2, 6, 3, 4, 3), "time", r"rank 5 must be a number .*Received: axis='time'"),
        ((2, 6, 4), "time", r"rank 3 must be a number .*Received: axis='time'"),
        ((2, 6, 4, 1), 0, r"from 1 to 3: axis 0 is the batch.*Received: axis=0"),
        ((2, 6, 4, 1), 4, r"from 1 to 3: axis 0 is the batch.*Received: axis=4"),
        ((2, 6, 4, 1), -4, r"from 1 to 3: axis 0 is the batch.*Received: axis=-4"),
        ((2, 7, 4, 1), "time", r'`num_patches=3` does not divide.*"crop" for 6.*"pad" for 9'),
        ((2, 2, 4, 1), "time", r"`num_patches=3` is more than `axis='time'` of size 2 can give"),
    ],
)
def test_inputs_that_cannot_be_sliced_are_refused(shape, axis, message):
    layer = Patches(3, axis)
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match=message):
        layer.compute_output_shape(shape)


def test_cropping_to_nothing_is_refused():
    with pytest.raises(ValueError, match="use fewer patches or larger inputs"):
        Patches(3, "time", "crop")(np.zeros((2, 2)))


@pytest.mark.parametrize("remainder", ["error", "crop", "pad"])
def test_an_axis_of_unknown_size_is_refused(remainder):
    compiled = tf.function(
        Patches(3, "time", remainder), input_signature=[tf.TensorSpec([2, None])]
    )
    with pytest.raises(ValueError, match="The size of `axis='time'` must be known"):
        compiled(np.zeros((2, 6), "float32"))


@pytest.mark.parametrize("shape", [(2, 4, 6), (2, 3)])
def test_inverse_refuses_what_are_not_its_patches(shape):
    with pytest.raises(ValueError, match=r"Patches must have shape \(batch, 3, \.\.\.\)"):
        Patches(3, 1).inverse(np.zeros(shape))


@pytest.mark.parametrize("axis, remainder", [("frequency", "error"), (-3, "crop"), (1, "pad")])
def test_passes_the_shared_check(axis, remainder, tmp_path):
    check_layer(Patches(3, axis, remainder), _input((4, 7, 6, 2)), tmp_path)
