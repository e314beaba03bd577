"""Handwritten digits, and how `moving_digits` and `digit_scenes` draw them.

The 1797 digits of scikit-learn (UCI, 8 x 8 pixels); nothing is downloaded. Lengths and places are
in units of the side of the picture: (0, 0) is its upper left corner, (1, 1) its lower right one.
"""

import functools

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn import datasets, model_selection

SPLITS = ("train", "test")
CELLS = 8  # Pixels of a handwritten digit along each side.
MAGNIFICATION = 4  # Pixels of a stencil for each of them.


@functools.cache
def handwritten(split):
    """The handwritten digits of a split; no image is in both, but the writers are the same.

    Args:
        split: "train" (four fifths of each digit) or "test".

    Returns:
        Stencils `(images, 40, 40)` float32 in [0, 1], 1 where there is ink, with a clear margin of
        4 pixels; which digit each is, `(images,)` int64; its index in
        `sklearn.datasets.load_digits()`, `(images,)` int64.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f'`split` must be "train" or "test". Received: split={split!r}')
    images, digits = datasets.load_digits(return_X_y=True)
    indices = model_selection.train_test_split(
        np.arange(len(digits)), test_size=0.2, random_state=0, stratify=digits
    )[SPLITS.index(split)]
    return np.stack([_stencil(images[index]) for index in indices]), digits[indices], indices


def _stencil(image):
    """A digit magnified: `(64,)` in [0, 16] to `(40, 40)` float32 in [0, 1]."""
    cells = np.pad(image.reshape(CELLS, CELLS) / 16, 1)
    return np.clip(magnified(cells, MAGNIFICATION * len(cells)), 0, 1)


def magnified(values, size):
    """Smooth interpolation of `(rows, columns)` values to float32 `(size, size)`."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def generator(seed, split, index):
    """Random numbers of one example: they depend on nothing else."""
    return np.random.default_rng((seed, SPLITS.index(split), index))


def draw(picture, stencil, x, y, height, angle, brightness):
    """Draws a digit into a picture, in place.

    Args:
        picture: float32 `(size, size)`, in [0, 1].
        stencil: One of `handwritten`. Its strokes are bandlimited, so it may be drawn at any height
            from `CELLS` pixels on without aliasing.
        x, y: Centre of the digit, which may lie outside.
        height: Height of the digit, at any angle.
        angle: Radians, clockwise.
        brightness: In [0, 1].
    """
    size = len(picture)
    centre = np.array([y, x]) * size - 0.5
    # Only where the stencil can reach: a square that holds it at any angle.
    reach = height * size * len(stencil) / (MAGNIFICATION * CELLS) / np.sqrt(2)
    first = np.clip(np.ceil(centre - reach), 0, size).astype(int)
    end = np.clip(np.floor(centre + reach) + 1, first, size).astype(int)
    window = picture[first[0] : end[0], first[1] : end[1]]
    if not window.size:
        return
    cosine, sine = np.cos(angle), np.sin(angle)
    to_stencil = np.array([[cosine, -sine], [sine, cosine]]) * MAGNIFICATION * CELLS / height / size
    offset = (len(stencil) - 1) / 2 + to_stencil @ (first - centre)
    ink = ndimage.affine_transform(
        stencil, to_stencil, offset, window.shape, order=1, prefilter=False
    )
    window += ink * (np.float32(brightness) - window)


def to_bytes(picture):
    """uint8 from values in [0, 1]; what lies outside is clipped."""
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
