"""From an input to its patches, and back."""

import math
import numbers

import keras
import numpy as np
from keras import ops

from keras_s2l import _checks
from keras_s2l._seeds import ReplicaSeedGenerator, SavedDraws

# Names of the axes, by the rank of the input with its batch axis.
AXES = {
    2: {"time": 1},
    4: {"time": 1, "frequency": 2, "height": 1, "width": 2},
    5: {"frames": 1, "height": 2, "width": 3},
}


def axis_number(axis, rank):
    """The number of `axis` (a name or a number) in an input of `rank` axes, the batch included.

    Raises:
        ValueError: If inputs of this rank have no such axis, or it is the batch axis.
    """
    if isinstance(axis, str):
        if axis not in AXES.get(rank, {}):
            raise ValueError(
                f"`axis` of an input of rank {rank} must be a number from 1 to {rank - 1} or one "
                f"of {list(AXES.get(rank, {}))}. Received: axis={axis!r}"
            )
        return AXES[rank][axis]
    if isinstance(axis, bool) or not isinstance(axis, numbers.Integral):
        raise ValueError(f"`axis` must be a name or an integer. Received: axis={axis!r}")
    number = axis + rank if axis < 0 else axis
    if not 0 < number < rank:
        raise ValueError(
            f"`axis` of an input of rank {rank} must be from 1 to {rank - 1}: axis 0 is the batch. "
            f"Received: axis={axis}"
        )
    return number


@keras.saving.register_keras_serializable(package="keras_s2l")
class Patches(SavedDraws, keras.layers.Layer):
    """Slices each input into equal patches that do not overlap, along one axis or in a grid.

    Edges that go on from one patch to the next, a common level, a common colour give the order away
    without anything being understood. Against such shortcuts patches can be kept apart (`gap`), lie
    elsewhere each time (`jitter`), and be normalised each by itself (`normalize`).

    Args:
        num_patches: Number of patches along `axis`.
        axis: `"time"`, `"frequency"`, `"height"`, `"width"`, `"frames"`, or a number (the batch is
            axis 0). Spectrograms are `(batch, time, frequency, 1)`, images
            `(batch, height, width, channels)`, clips `(batch, frames, height, width, channels)`,
            waveforms `(batch, samples)`. For a grid one for each of its counts, or `None` for the
            last axes before the channels.
        remainder: What to do when an axis does not divide: `"error"`, `"crop"` its end, or `"pad"`
            its end with zeros. (The paper does not state how 513 bins make 10 equal bands.)
        grid: In place of `num_patches` the number of patches along each of several axes, such as
            `(3, 3)`. Patches are numbered along the last of them first, as one reads.
        gap: Integer, what is left out between neighbours, in samples, bins, pixels or frames.
        jitter: Integer. Patches are so much shorter than they could be, and each begins at random
            within this room in training, in its middle otherwise.
        normalize: Whether each patch is brought to mean 0 and standard deviation 1 over all its
            entries; a constant one to 0.
        seed: Integer from which the jitter follows, or `None` for one drawn at random. It differs
            between patches, examples, calls, and replicas of a strategy.

    Input shape: any with a batch axis; the sliced axes must be known.
    Output shape: `(batch, num_patches, *patch_shape)`, where `patch_shape` is the input's shape
    with each sliced axis divided by its count (less gap and jitter).

    Raises:
        ValueError: If an argument has another value, a count does not divide its axis and
            `remainder` is `"error"`, an axis is unknown to inputs of this rank, its size is unknown
            or too small, or a padded patch would be all zeros.

    Example:
    >>> Patches(num_patches=10, axis="frequency")(np.zeros((2, 98, 60, 1))).shape
    (2, 10, 98, 6, 1)
    >>> Patches(grid=(3, 3), gap=4, jitter=4)(np.zeros((2, 92, 92, 3))).shape
    (2, 9, 24, 24, 3)

    Reference: Noroozi and Favaro, 2016, section 4.2 (gaps, jitter and normalisation),
    https://arxiv.org/abs/1603.09246; Doersch et al., 2015, https://arxiv.org/abs/1505.05192. The
    paper states none of them.
    """

    def __init__(
        self,
        num_patches=None,
        axis=None,
        remainder="error",
        grid=None,
        gap=0,
        jitter=0,
        normalize=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if (num_patches is None) == (grid is None):
            raise ValueError(
                "Give either `num_patches`, for patches along one axis, or `grid`, such as (3, 3). "
                f"Received: num_patches={num_patches}, grid={grid}"
            )
        if grid is None:
            if axis is None or isinstance(axis, (tuple, list)):
                raise ValueError(
                    '`axis` must be one name or number, such as "frequency", where `num_patches` '
                    f"is given. Received: axis={axis}"
                )
            counts = (_checks.positive_int("num_patches", num_patches, "try 10"),)
        else:
            if not isinstance(grid, (tuple, list)) or not grid:
                raise ValueError(f"`grid` must be numbers such as (3, 3). Received: grid={grid}")
            counts = tuple(_checks.positive_int("grid", count, "try (3, 3)") for count in grid)
            several = isinstance(axis, (tuple, list)) and len(axis) == len(counts)
            if axis is not None and not several:
                raise ValueError(
                    f"`axis` must name one axis for each count of `grid={counts}`, or be None. "
                    f"Received: axis={axis}"
                )
        self.counts, self.axis = counts, axis if grid is None or axis is None else tuple(axis)
        self.grid = None if grid is None else counts
        self.num_patches = math.prod(counts)
        self.gap = _checks.natural_int("gap", gap)
        self.jitter = _checks.natural_int("jitter", jitter)
        self.normalize = _checks.one_of("normalize", normalize, (True, False))
        self.remainder = _checks.one_of("remainder", remainder, ("error", "crop", "pad"))
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed) if self.jitter else None

    def _axes(self, rank):
        """Numbers of the sliced axes in inputs of `rank` axes, and the name of each for errors."""
        if self.grid is None:
            names = (self.axis,)
        elif self.axis is not None:
            names = self.axis
        else:
            first = max(rank - 1 - len(self.counts), 1)
            names = tuple(range(first, first + len(self.counts)))
        axes = tuple(axis_number(name, rank) for name in names)
        if len(set(axes)) < len(axes):
            raise ValueError(f"`axis` must name different axes. Received: axis={names}")
        return axes, names

    def cut_axis(self, rank):
        """Number of the one axis that is cut in inputs of `rank` axes, the batch's among them."""
        (axis,), _ = self._axes(rank)
        return axis

    def _given(self):
        return f"`num_patches={self.num_patches}`" if self.grid is None else f"`grid={self.grid}`"

    def _cell(self, size, count, name):
        """Distance from one patch to the next along an axis of `size`."""
        if size is None:
            raise ValueError(
                f"The size of `axis={name!r}` must be known when slicing it; resize, crop or "
                "pad the inputs to one size. Received: an axis of unknown size"
            )
        least = count * (1 + self.jitter) + (count - 1) * self.gap
        if size < least:
            raise ValueError(
                f"{self._given()} is more than `axis={name!r}` of size {size} can give: with "
                f"gap={self.gap} and jitter={self.jitter} it takes {least} or more; use fewer "
                "patches or larger inputs"
            )
        room = size + self.gap  # As if the last patch too were followed by a gap.
        if room % count and self.remainder == "error":
            down = room - room % count - self.gap
            raise ValueError(
                f"{self._given()} does not divide `axis={name!r}` of size {size}, with "
                f'gap={self.gap}. Use remainder="crop" for {down}, remainder="pad" for '
                f"{down + count}, or another number of patches"
            )
        if self.remainder != "pad":
            return room // count
        cell = -(-room // count)
        if size <= cell * (count - 1) + self.jitter:
            raise ValueError(
                f"Padding `axis={name!r}` of size {size} for {self._given()} would leave patches "
                "of zeros alone, whose order is not to be learnt; use fewer patches or larger "
                "inputs"
            )
        return cell

    def call(self, inputs, training=None, offsets=None):
        """Slices inputs.

        Args:
            inputs: As of the layer.
            training: Whether `jitter` places patches at random, if `offsets` do not.
            offsets: Integers `(batch, num_patches, sliced axes)` from 0 to `jitter`, where each
                patch begins in its room: for an input pipeline that draws them itself.

        Returns:
            As of the layer.

        Raises:
            ValueError: If `offsets` have another shape.
        """
        patches = inputs
        axes, names = self._axes(len(inputs.shape))
        # From the last axis to the first: each cut adds an axis before the one that it cuts.
        for axis, count, name in sorted(zip(axes, self.counts, names), reverse=True):
            patches = self._cut(patches, axis, count, self._cell(inputs.shape[axis], count, name))
        # Where the axes of counts are now, in the order of the grid.
        places = [axis + sum(other < axis for other in axes) for axis in axes]
        patches = ops.moveaxis(patches, places, list(range(1, 1 + len(axes))))
        sizes = tuple(ops.shape(patches))
        patches = ops.reshape(patches, (sizes[0], self.num_patches, *sizes[1 + len(axes) :]))
        if self.gap or self.jitter:
            if offsets is None and training and self.jitter:
                offsets = keras.random.randint(
                    (sizes[0], self.num_patches, len(axes)),
                    *(0, self.jitter + 1),
                    dtype="int32",
                    seed=self.seed_generator,
                )
            patches = self._placed(patches, [axis + 1 for axis in axes], offsets)
        return _normalized(patches, self.compute_dtype) if self.normalize else patches

    def _cut(self, x, axis, count, cell):
        """Cuts an axis into `(count, cell)`; its end is cropped or filled up."""
        missing = count * cell - x.shape[axis]
        if missing > 0:
            x = ops.pad(x, [(0, missing if a == axis else 0) for a in range(len(x.shape))])
        elif missing < 0:
            x = _slice(x, axis, 0, count * cell)
        sizes = tuple(ops.shape(x))
        return ops.reshape(x, (*sizes[:axis], count, cell, *sizes[axis + 1 :]))

    def _placed(self, cells, axes, offsets):
        """The patch in each cell: where the offsets say, or else in the middle of its room."""
        lengths = {axis: cells.shape[axis] - self.gap - self.jitter for axis in axes}
        if offsets is None:
            begin = self.jitter // 2
            for axis, length in lengths.items():
                cells = _slice(cells, axis, begin, begin + length)
            return cells
        offsets = ops.cast(ops.convert_to_tensor(offsets), "int32")
        if tuple(offsets.shape[1:]) != (self.num_patches, len(axes)):
            raise ValueError(
                f"`offsets` must have shape (batch, {self.num_patches}, {len(axes)}). Received: "
                f"shape {tuple(offsets.shape)}"
            )
        sizes = tuple(ops.shape(cells))
        if keras.backend.backend() == "jax":
            # Within each cell, for XLA to see that the devices of a distribution need not meet.
            for axis, length in lengths.items():
                begin = ops.reshape(
                    offsets[:, :, axes.index(axis)], (*sizes[:2], *(1,) * (len(sizes) - 2))
                )
                places = ops.reshape(ops.arange(length), (-1, *(1,) * (len(sizes) - 1 - axis)))
                cells = ops.take_along_axis(cells, begin + places, axis=axis)
            return cells
        row = ops.reshape(ops.arange(sizes[0] * sizes[1], dtype="int32"), sizes[:2])
        for axis in range(2, max(axes) + 1):
            places = ops.arange(lengths.get(axis, sizes[axis]), dtype="int32")
            if axis in axes:
                begin = offsets[:, :, axes.index(axis)]
                places = ops.reshape(begin, (*sizes[:2], *(1,) * (axis - 1))) + places
            row = row[..., None] * sizes[axis] + places
        # One gather of whole rows: the only copy.
        return ops.take(ops.reshape(cells, (-1, *sizes[max(axes) + 1 :])), row, axis=0)

    def inverse(self, patches):
        """Puts patches `(batch, num_patches, *patch_shape)` together again.

        With `remainder="error"` and neither gap, jitter nor normalisation this restores the input
        exactly. Otherwise it is the input as cropped, padded or normalised, with zeros between
        patches that lie apart.
        """
        if len(patches.shape) < 3 or patches.shape[1] != self.num_patches:
            raise ValueError(
                f"Patches must have shape (batch, {self.num_patches}, ...). Received: shape "
                f"{tuple(patches.shape)}"
            )
        axes, _ = self._axes(len(patches.shape) - 1)
        before = self.jitter // 2
        around = (before, self.gap + self.jitter - before)
        if self.gap or self.jitter:
            widths = [around if a - 1 in axes else (0, 0) for a in range(len(patches.shape))]
            patches = ops.pad(patches, widths)
        sizes = tuple(ops.shape(patches))
        x = ops.reshape(patches, (sizes[0], *self.counts, *sizes[2:]))
        places = [axis + sum(other < axis for other in axes) for axis in axes]
        x = ops.moveaxis(x, list(range(1, 1 + len(axes))), places)
        for axis, count in sorted(zip(axes, self.counts)):
            sizes = tuple(ops.shape(x))
            length = count * sizes[axis + 1]
            x = ops.reshape(x, (*sizes[:axis], length, *sizes[axis + 2 :]))
            x = _slice(x, axis, 0, length - self.gap) if self.gap else x
        return x

    def compute_output_spec(self, inputs, training=None, offsets=None):
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        dtype = _normalized_dtype(dtype, self.compute_dtype) if self.normalize else dtype
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=dtype)

    def compute_output_shape(self, input_shape):
        axes, names = self._axes(len(input_shape))
        patch_shape = list(input_shape)
        for axis, count, name in zip(axes, self.counts, names):
            cell = self._cell(input_shape[axis], count, name)
            patch_shape[axis] = cell - self.gap - self.jitter
        return (input_shape[0], self.num_patches, *patch_shape[1:])

    def get_config(self):
        own = ("axis", "remainder", "grid", "gap", "jitter", "normalize", "seed")
        return {
            **super().get_config(),
            "num_patches": self.num_patches if self.grid is None else None,
            **{name: getattr(self, name) for name in own},
        }


def _slice(x, axis, start, stop):
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _normalized(patches, compute_dtype):
    """Each patch with mean 0 and standard deviation 1, in floats."""
    dtype = keras.backend.standardize_dtype(patches.dtype)
    precise = ops.cast(patches, "float64" if dtype == "float64" else "float32")
    axes = tuple(range(2, len(patches.shape)))
    size = ops.max(ops.abs(precise), axis=axes, keepdims=True)
    scaled = precise / ops.where(size > 0, size, 1.0)  # Squares do not overflow.
    mean, variance = ops.moments(scaled, axes=axes, keepdims=True)
    # What is constant but for rounding is constant.
    rounding = 16 * np.finfo(keras.backend.standardize_dtype(precise.dtype)).eps
    constant = variance <= float(rounding) ** 2  # Not so with a NaN, which stays one.
    normalized = (scaled - mean) / ops.sqrt(ops.where(constant, 1.0, variance))
    return ops.cast(ops.where(constant, 0.0, normalized), _normalized_dtype(dtype, compute_dtype))


def _normalized_dtype(dtype, compute_dtype):
    return dtype if "float" in dtype else compute_dtype
