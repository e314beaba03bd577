"""Patches against NumPy slices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

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


# Shape of an input, its grid, the axes that are asked for, and their numbers.
GRIDS = [
    ((2, 12, 8, 3), (3, 2), None, (1, 2)),
    ((2, 12, 8, 3), (2, 3), ("width", "height"), (2, 1)),
    ((2, 12, 8, 1), (3, 4), ("time", "frequency"), (1, 2)),
    ((2, 4, 6, 9, 1), (2, 3), None, (2, 3)),
    ((2, 4, 6, 9, 1), (2, 2, 3), None, (1, 2, 3)),
    ((2, 4, 6, 9, 1), (2, 3), ("frames", "width"), (1, 3)),
    ((2, 12, 5), (3,), None, (1,)),
    ((2, 12), (3,), None, (1,)),
]


@pytest.mark.parametrize("shape, grid, axis, numbers", GRIDS)
def test_a_grid_matches_slices_numbered_as_one_reads(shape, grid, axis, numbers):
    inputs = _input(shape)
    layer = Patches(axis=axis, grid=grid)
    patches = layer(inputs)
    np.testing.assert_array_equal(patches, references.grid_patches(inputs, grid, numbers))
    assert patches.shape == layer.compute_output_shape(shape)
    np.testing.assert_array_equal(layer.inverse(patches), inputs)


@pytest.mark.parametrize("gap, jitter", [(1, 0), (0, 1), (2, 2), (1, 3)])
def test_patches_lie_apart_in_the_middle_of_their_room_when_not_training(gap, jitter):
    inputs = _input((2, 3 * 7 - gap, 2 * 8 - gap, 3))
    layer = Patches(grid=(3, 2), gap=gap, jitter=jitter)
    patches = layer(inputs, training=False)
    truth = references.grid_patches(inputs, (3, 2), (1, 2), gap, jitter)
    np.testing.assert_array_equal(patches, truth)
    assert patches.shape == layer.compute_output_shape(inputs.shape)
    # Together again they stand where they stood, with zeros between.
    restored = layer.inverse(patches).numpy()
    assert restored.shape == inputs.shape
    kept = restored != 0
    np.testing.assert_array_equal(restored[kept], inputs[kept])
    assert kept.sum() == truth.size


@pytest.mark.parametrize("jit", [False, True])
def test_jitter_moves_each_patch_within_its_room_and_keeps_the_gap(jit):
    gap, jitter, cells, size = 2, 3, (3, 2), (3 * 9 - 2, 2 * 10 - 2)
    # Each pixel tells where it stands.
    rows, columns = np.meshgrid(*map(np.arange, size), indexing="ij")
    inputs = np.stack([rows, columns], axis=-1)[None].repeat(200, axis=0).astype("float32")
    layer = Patches(grid=cells, gap=gap, jitter=jitter, seed=3)

    def compiled(layer):  # XLA draws other numbers.
        return tf.function(lambda x: layer(x, training=True), jit_compile=jit)

    call = compiled(layer)
    patches = call(inputs).numpy().astype(int)
    assert patches.shape == (200, 6, 9 - 5, 10 - 5, 2)
    begins = patches[:, :, 0, 0]
    rebuilt = begins[:, :, None, None] + np.stack(
        np.meshgrid(np.arange(4), np.arange(5), indexing="ij"), axis=-1
    )
    np.testing.assert_array_equal(patches, rebuilt)  # Whole windows of the input.
    corners = np.stack(np.meshgrid(9 * np.arange(3), 10 * np.arange(2), indexing="ij"), axis=-1)
    offsets = begins - corners.reshape(6, 2)
    counts = np.apply_along_axis(np.bincount, 0, offsets.reshape(1200, 2), minlength=jitter + 1)
    assert counts.shape == (jitter + 1, 2)  # From 0 to 3, and nothing else: the gap is kept.
    assert stats.chisquare(counts[:, 0]).pvalue > 1e-3 < stats.chisquare(counts[:, 1]).pvalue
    assert len({tuple(row) for row in offsets.reshape(200, 12)}) > 190  # Each patch by itself.
    assert (call(inputs).numpy() != patches).any()  # Each time.
    again = Patches(grid=cells, gap=gap, jitter=jitter, seed=3)
    np.testing.assert_array_equal(compiled(again)(inputs), patches)


def test_normalized_patches_have_mean_0_and_standard_deviation_1():
    inputs = 5 + 3 * _input((4, 6, 8, 2))
    inputs[0, :, :2] = 7.3  # A constant patch.
    patches = Patches(4, "frequency", normalize=True)(inputs).numpy()
    truth = references.patches(inputs, 4, 2, "error").astype("float64")
    deviations = truth - truth.mean(axis=(2, 3, 4), keepdims=True)
    scale = truth.std(axis=(2, 3, 4), keepdims=True)
    np.testing.assert_allclose(patches[0, 0], 0.0, atol=1e-2)
    patches[0, 0], deviations[0, 0], scale[0, 0] = 0, 0, 1
    np.testing.assert_allclose(patches, deviations / scale, atol=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "either `num_patches`.*or `grid`"),
        ({"num_patches": 4, "grid": (2, 2)}, "either `num_patches`.*or `grid`"),
        ({"num_patches": 4}, "`axis` must be one name or number"),
        ({"num_patches": 4, "axis": ("time", "width")}, "`axis` must be one name or number"),
        ({"grid": (2, 0)}, "`grid` must be a positive integer"),
        ({"grid": (2, 2), "axis": "height"}, "one axis for each count"),
        ({"grid": (2, 2), "axis": ("height",)}, "one axis for each count"),
        ({"num_patches": 4, "axis": 1, "gap": -1}, "`gap` must be an integer, 0 or above"),
        ({"num_patches": 4, "axis": 1, "jitter": 1.5}, "`jitter` must be an integer, 0 or above"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Patches(**arguments)


@pytest.mark.parametrize(
    "shape, axis, message",
    [
        ((2, 13, 8, 3), None, r"`grid=\(3, 2\)` does not divide.*size 13.*for 12.*for 15"),
        ((2, 8, 8), None, "axis 0 is the batch|different axes|size"),
        ((2, 12, 8, 3), ("height", 1), "different axes"),
    ],
)
def test_inputs_that_no_grid_fits_are_refused(shape, axis, message):
    with pytest.raises(ValueError, match=message):
        Patches(grid=(3, 2), axis=axis)(np.zeros(shape, "float32"))


def test_too_small_a_room_is_refused_with_what_it_takes():
    with pytest.raises(ValueError, match="gap=2 and jitter=3 it takes 16 or more"):
        Patches(3, "time", gap=2, jitter=3)(np.zeros((2, 13), "float32"))


def test_works_inside_a_data_pipeline():
    inputs = _input((4, 6, 4, 1))
    dataset = tf.data.Dataset.from_tensor_slices(inputs).batch(3).map(Patches(3, "time"))
    patches = np.concatenate([batch.numpy() for batch in dataset])
    np.testing.assert_array_equal(patches, references.patches(inputs, 3, 1, "error"))


def test_example_of_the_docstring():
    layer = Patches(num_patches=10, axis="frequency")
    assert layer(np.zeros((2, 98, 60, 1))).shape == (2, 10, 98, 6, 1)
    layer = Patches(grid=(3, 3), gap=4, jitter=4)
    assert layer(np.zeros((2, 92, 92, 3))).shape == (2, 9, 24, 24, 3)


@pytest.mark.parametrize("num_patches", [0, -1, 2.0, True])
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


def test_a_grid_with_all_guards_passes_the_shared_check(tmp_path):
    layer = Patches(grid=(2, 3), gap=1, jitter=1, normalize=True, seed=0)
    check_layer(layer, _input((4, 7, 11, 2)), tmp_path)


@pytest.mark.parametrize("offset, scale", [(0, 1e-7), (1e5, 0.5), (0, 1e20), (0, 1e-30)])
def test_patches_are_normalized_at_any_level_and_scale(offset, scale):
    inputs = (offset + scale * _input((2, 8, 8, 1)).astype("float64")).astype("float32")
    patches = Patches(grid=(2, 2), normalize=True)(inputs).numpy()
    np.testing.assert_allclose(patches.std(axis=(2, 3, 4)), 1.0, rtol=1e-2)


def test_integers_are_normalized_to_floats():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype="uint8")
    layer = Patches(grid=(2, 2), normalize=True)
    patches = layer(pictures)
    np.testing.assert_allclose(patches, layer(pictures.astype("float32")), atol=1e-5)
    assert Patches(grid=(2, 2))(pictures).dtype == tf.uint8


def test_padding_and_jitter_together_leave_no_patch_of_zeros():
    with pytest.raises(ValueError, match="would leave patches of zeros alone"):
        Patches(10, 1, "pad", jitter=8)(np.ones((1, 91, 1), "float32"))


@pytest.mark.parametrize("arguments", [{"grid": 3}, {"grid": ()}, {"grid": (2, 2), "axis": 3}])
def test_what_is_no_grid_is_refused(arguments):
    with pytest.raises(ValueError, match=r"`grid` must be|`axis` must name one axis"):
        Patches(**arguments)


@pytest.mark.parametrize("axis", [1.5, True])
def test_what_is_no_axis_is_refused(axis):
    with pytest.raises(ValueError, match="`axis` must be a name or an integer"):
        Patches(3, axis)(np.zeros((2, 6, 4), "float32"))


MOVES_DATA = ("Transpose", "Slice", "StridedSlice", "Pad", "PadV2", "ConcatV2", "Pack", "GatherV2")


@pytest.mark.parametrize(
    ("layer", "shape", "moves"),
    [
        (Patches(3, "time"), (None, 6, 8, 1), []),  # As it lies in memory.
        (Patches(4, "frames"), (None, 8, 6, 6, 1), []),
        (Patches(4, "frequency"), (None, 6, 8, 1), ["Transpose"]),
        (Patches(grid=(2, 4)), (None, 6, 8, 1), ["Transpose"]),
        (Patches(3, "frequency", "crop"), (None, 6, 8, 1), ["StridedSlice", "Transpose"]),
        (Patches(3, "frequency", "pad"), (None, 6, 8, 1), ["Pad", "Transpose"]),
        (
            Patches(4, "frequency", gap=1, remainder="crop"),
            (None, 6, 8, 1),
            ["Transpose", "StridedSlice"],
        ),
    ],
)
def test_inputs_are_copied_no_more_often_than_needed(layer, shape, moves):
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec(shape)).graph
    moved = [
        op.type
        for op in graph.get_operations()
        if op.type in MOVES_DATA and (op.outputs[0].shape.rank or 0) > 2
    ]
    assert moved == moves


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("axis", [None, ("width", "height")])
def test_patches_lie_where_the_offsets_say(axis, training):
    random = np.random.default_rng(0)
    pictures = random.random((4, 23, 20, 1)).astype("float32")
    offsets = random.integers(0, 3, (4, 6, 2))
    layer = Patches(grid=(2, 3), axis=axis, gap=1, jitter=2, remainder="crop")
    given = layer(pictures, training=training, offsets=offsets)
    if axis:  # The grid's first count is of the width.
        pictures = pictures.transpose(0, 2, 1, 3)
    cells = [(size + 1) // count for size, count in zip(pictures.shape[1:3], (2, 3))]
    heights, widths = (cell - 3 for cell in cells)
    for example, of_patches in enumerate(offsets):
        for number, (down, right) in enumerate(of_patches):
            top, left = cells[0] * (number // 3) + down, cells[1] * (number % 3) + right
            expected = pictures[example, top : top + heights, left : left + widths]
            expected = expected.transpose(1, 0, 2) if axis else expected
            np.testing.assert_array_equal(given[example, number], expected)


def test_offsets_of_another_shape_are_refused():
    layer = Patches(grid=(2, 2), jitter=2)
    with pytest.raises(ValueError, match=r"`offsets` must have shape \(batch, 4, 2\). Received"):
        layer(np.zeros((3, 8, 8, 1)), offsets=np.zeros((3, 4, 1), "int32"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_patch_that_is_not_finite_does_not_become_a_constant_one(value):
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 1)).astype("float32")
    x[0, 0, 0, 0] = value
    patches = np.asarray(Patches(3, "frequency", normalize=True)(x))
    assert np.isnan(patches[0, 0]).any()
    assert np.isfinite(patches[0, 1:]).all()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_the_dtype_is_known_before_there_are_values(dtype, normalize):
    inputs = keras.Input((4, 6, 1), dtype=dtype)
    model = keras.Model(inputs, Patches(3, "frequency", normalize=normalize)(inputs))
    patches = model(np.ones((2, 4, 6, 1), dtype))
    assert model.output.dtype == keras.backend.standardize_dtype(patches.dtype)
