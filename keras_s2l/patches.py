"""From an input to its patches, and back."""

import keras
from keras import ops

from keras_s2l import _checks

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
    number = axis + rank if axis < 0 else axis
    if not 0 < number < rank:
        raise ValueError(
            f"`axis` of an input of rank {rank} must be from 1 to {rank - 1}: axis 0 is the batch. "
            f"Received: axis={axis}"
        )
    return number


@keras.saving.register_keras_serializable(package="keras_s2l")
class Patches(keras.layers.Layer):
    """Slices each input into `num_patches` equal patches along one axis.

    Args:
        num_patches: Number of patches.
        axis: `"time"`, `"frequency"`, `"height"`, `"width"`, `"frames"`, or a number (the batch is
            axis 0). Spectrograms are `(batch, time, frequency, 1)`, images
            `(batch, height, width, channels)`, clips `(batch, frames, height, width, channels)`,
            waveforms `(batch, samples)`.
        remainder: What to do when the axis does not divide: `"error"`, `"crop"` its end, or `"pad"`
            its end with zeros. (The paper does not state how 513 bins make 10 equal bands.)

    Input shape: any with a batch axis; the sliced axis must be known.
    Output shape: `(batch, num_patches, *patch_shape)`, where `patch_shape` is the input's shape
    with the sliced axis divided by `num_patches`.

    Raises:
        ValueError: If `num_patches` does not divide the axis and `remainder` is `"error"`, the axis
            is unknown to inputs of this rank, or its size is unknown, below `num_patches`,
            or so small that a padded patch would be all zeros.

    Example:
    >>> Patches(num_patches=10, axis="frequency")(np.zeros((2, 98, 60, 1))).shape
    (2, 10, 98, 6, 1)
    """

    def __init__(self, num_patches, axis, remainder="error", **kwargs):
        super().__init__(**kwargs)
        self.num_patches = _checks.positive_int("num_patches", num_patches, "try 10")
        self.axis = axis
        self.remainder = _checks.one_of("remainder", remainder, ("error", "crop", "pad"))

    def patch_size(self, size):
        """Length of each patch along the sliced axis, of `size`."""
        if size is None:
            raise ValueError(
                f"The size of `axis={self.axis!r}` must be known when slicing it; resize, crop or "
                "pad the inputs to one size. Received: an axis of unknown size"
            )
        if size < self.num_patches:
            raise ValueError(
                f"`num_patches={self.num_patches}` is more than `axis={self.axis!r}` of size "
                f"{size} can give; use fewer patches or larger inputs"
            )
        if size % self.num_patches and self.remainder == "error":
            down = size - size % self.num_patches
            raise ValueError(
                f"`num_patches={self.num_patches}` does not divide `axis={self.axis!r}` of size "
                f'{size}. Use remainder="crop" for {down}, remainder="pad" for '
                f"{down + self.num_patches}, or another number of patches"
            )
        if self.remainder != "pad":
            return size // self.num_patches
        length = -(-size // self.num_patches)
        if size <= length * (self.num_patches - 1):
            raise ValueError(
                f"Padding `axis={self.axis!r}` of size {size} for `num_patches={self.num_patches}` "
                "would leave patches of zeros alone, whose order is not to be learnt; use fewer "
                "patches or larger inputs"
            )
        return length

    def call(self, inputs):
        shape = tuple(inputs.shape)
        axis = axis_number(self.axis, len(shape))
        length = self.patch_size(shape[axis])
        missing = self.num_patches * length - shape[axis]
        if missing > 0:
            inputs = ops.pad(inputs, [(0, missing if a == axis else 0) for a in range(len(shape))])
        elif missing < 0:
            inputs = inputs[(slice(None),) * axis + (slice(0, self.num_patches * length),)]
        sizes = tuple(ops.shape(inputs))
        split = ops.reshape(inputs, (*sizes[:axis], self.num_patches, length, *sizes[axis + 1 :]))
        return ops.moveaxis(split, axis, 1)

    def inverse(self, patches):
        """Puts patches `(batch, num_patches, *patch_shape)` together again.

        With `remainder="error"` this restores the input exactly; otherwise it gives the input as it
        was cropped or padded.
        """
        if len(patches.shape) < 3 or patches.shape[1] != self.num_patches:
            raise ValueError(
                f"Patches must have shape (batch, {self.num_patches}, ...). Received: shape "
                f"{tuple(patches.shape)}"
            )
        axis = axis_number(self.axis, len(patches.shape) - 1)
        sizes = tuple(ops.shape(patches))
        joined = ops.moveaxis(patches, 1, axis)
        length = self.num_patches * sizes[axis + 1]
        return ops.reshape(joined, (sizes[0], *sizes[2 : axis + 1], length, *sizes[axis + 2 :]))

    def compute_output_shape(self, input_shape):
        axis = axis_number(self.axis, len(input_shape))
        patch_shape = list(input_shape[1:])
        patch_shape[axis - 1] = self.patch_size(input_shape[axis])
        return (input_shape[0], self.num_patches, *patch_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "num_patches": self.num_patches,
            "axis": self.axis,
            "remainder": self.remainder,
        }
