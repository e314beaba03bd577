"""`digit_scenes`: handwritten digits, upright on a ground, lit by a lamp at the upper left.

Where a piece of a scene belongs can be learnt: light falls off from the lamp in circles, so its
level and its direction tell the place, the ground is dark, and digits stand upright.
"""

import dataclasses

import numpy as np

from training.data import digits
from training.data.examples import Examples

COUNTS = (2, 3, 4, 5)
LARGEST = (0.36, 0.5)  # Height of the largest digit.
SMALLER = (0.78, 0.88)  # Of each further digit over the one before.
ASPECT = 0.75  # Width of the room that a digit takes, over its height.


@dataclasses.dataclass
class Layout:
    """Which handwritten images of a split stand where: arrays `(count,)`, the largest first."""

    images: np.ndarray
    x: np.ndarray
    y: np.ndarray
    height: np.ndarray


def load(split, num_examples, seed=0, size=64):
    """Draws scenes; scene `i` depends on the split, the seed and `i` alone.

    Args:
        split: "train" or "test", which show different handwritten images.
        num_examples: How many scenes.
        seed: Non-negative integer from which everything follows.
        size: Height and width in pixels; strokes of the smallest digits alias below 64.

    Returns:
        `Examples` with images `(num_examples, size, size, 1)` uint8, and the labels `present`, bool
        `(num_examples, 10)`, which digits stand there, `largest`, int64, which digit is the largest
        one, and `count`, int64, how many stand there, two to five, alike or not.

    Raises:
        ValueError: If there is no such split.
    """
    stencils, written, _ = digits.handwritten(split)
    scenes = np.empty((num_examples, size, size, 1), np.uint8)
    labels = {
        "present": np.zeros((num_examples, 10), bool),
        "largest": np.empty(num_examples, np.int64),
        "count": np.empty(num_examples, np.int64),
    }
    for index in range(num_examples):
        rng = digits.generator(seed, split, index)
        layout = _layout(rng, len(stencils))
        scenes[index, ..., 0] = _scene(rng, layout, stencils, size)
        labels["present"][index, written[layout.images]] = True
        labels["largest"][index] = written[layout.images[0]]
        labels["count"][index] = len(layout.images)
    names = tuple("0123456789")
    return Examples("image", scenes, labels, {"present": names, "largest": names})


def _layout(rng, num_images):
    """Two to five digits of differing height, apart from each other where there is room."""
    count = rng.choice(COUNTS)
    height = rng.uniform(*LARGEST) * np.cumprod([1, *rng.uniform(*SMALLER, count - 1)])
    boxes = height[:, None] * [ASPECT, 1]
    centres = np.empty((count, 2))
    for number, box in enumerate(boxes):
        tried = rng.uniform(box / 2, 1 - box / 2, (50, 2))
        # Distance over that of boxes that touch: 1 or more is apart.
        distances = np.abs(tried[:, None] - centres[:number]) / ((box + boxes[:number]) / 2)
        apart = distances.max(axis=2).min(axis=1, initial=1)
        centres[number] = tried[np.argmax(apart)]  # The first that is apart from all, or the best.
    return Layout(rng.integers(num_images, size=count), *centres.T, height)


def _scene(rng, layout, stencils, size):
    """One scene `(size, size)` uint8."""
    light = _light(rng, size)
    ground = light * _shade(rng, size) * (1 + _texture(rng, size))
    ink = np.zeros((size, size), np.float32)
    for image, *place in zip(layout.images, layout.x, layout.y, layout.height):
        digits.draw(ink, stencils[image], *place, rng.uniform(-0.15, 0.15), rng.uniform(0.85, 1))
    # Digits are lit as well, but less darkened far from the lamp, so that they stand out.
    return digits.to_bytes(ground + ink * (0.65 + 0.35 * light - ground))


def _light(rng, size):
    """Light of a lamp about the upper left corner: `(size, size)`, from 1 there to about 0.25."""
    column, row = rng.normal(0, 0.04, 2)
    places = (np.arange(size) + 0.5) / size
    squared = (places - column) ** 2 + (places[:, None] - row) ** 2
    return (1 / (1 + rng.uniform(1.3, 1.7) * squared)).astype(np.float32)


def _shade(rng, size):
    """How much light comes back: `(size, 1)`, less below the horizon."""
    horizon = round(rng.uniform(0.6, 0.72) * size)
    return np.where(np.arange(size) < horizon, 0.55, 0.35).astype(np.float32)[:, None]


def _texture(rng, size):
    """Smooth noise about 0: `(size, size)`."""
    return digits.magnified(rng.uniform(-0.1, 0.1, (9, 9)), size)
