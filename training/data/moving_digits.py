"""`moving_digits`: clips of handwritten digits that move as things do, never backwards.

A digit falls and bounces lower and lower, grows, fades, slides until friction stops it, or spirals
inwards. Each motion, played backwards, is none of the five: the order of the frames can be learnt
from what is in them, which uniform motion would not allow.
"""

import dataclasses

import numpy as np

from training.data import digits
from training.data.examples import Examples

HEIGHTS = (0.28, 0.46)  # Of the main digit; of one that grows, halfway.
COMPANION = (0.65, 0.72)  # Height of a second digit over the main one's: smaller at any growth.


@dataclasses.dataclass
class Path:
    """Where a digit is and how it looks at each of `(frames,)` times; see `digits.draw`."""

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray
    angle: np.ndarray
    brightness: np.ndarray


def load(split, num_examples, seed=0, size=64, num_frames=16):
    """Draws clips; clip `i` depends on the split, the seed and `i` alone.

    Args:
        split: "train" or "test", which show different handwritten images.
        num_examples: How many clips.
        seed: Non-negative integer from which everything follows.
        size: Height and width in pixels; strokes of the smallest digits alias below 64.
        num_frames: Frames of a clip. More of them show the same motion more slowly.

    Returns:
        `Examples` with clips `(num_examples, num_frames, size, size, 1)` uint8, and int64 labels
        `motion`, the place among `MOTIONS`, and `digit`, which the larger digit of the clip is.

    Raises:
        ValueError: If there is no such split.
    """
    stencils, written, _ = digits.handwritten(split)
    clips = np.empty((num_examples, num_frames, size, size, 1), np.uint8)
    moves = tuple(MOTIONS.values())
    labels = {task: np.empty(num_examples, np.int64) for task in ("motion", "digit")}
    for index in range(num_examples):
        rng = digits.generator(seed, split, index)
        motion = rng.integers(len(MOTIONS))
        images = rng.integers(len(stencils), size=rng.integers(1, 3))
        clips[index, ..., 0] = _clip(rng, moves[motion], stencils[images], size, num_frames)
        labels["motion"][index] = motion
        labels["digit"][index] = written[images[0]]
    classes = {"motion": tuple(MOTIONS), "digit": tuple("0123456789")}
    return Examples("video", clips, labels, classes)


def _clip(rng, move, stencils, size, num_frames):
    """One clip `(num_frames, size, size)` uint8; the first stencil is the main digit."""
    frames = np.tile(_ground(rng, size), (num_frames, 1, 1))
    times = np.linspace(0, 1, num_frames)
    height = rng.uniform(*HEIGHTS)
    heights = (height, height * rng.uniform(*COMPANION))
    # The main digit is drawn last, in front.
    for number in reversed(range(len(stencils))):
        path = _path(rng, move, heights[number], times)
        poses = zip(path.x, path.y, path.height, path.angle, path.brightness)
        for frame, pose in zip(frames, poses):
            digits.draw(frame, stencils[number], *pose)
    if rng.random() < 0.5:
        _put_bar(rng, frames)
    return digits.to_bytes(frames)


def _ground(rng, size):
    """Black, or a faint texture: float32 `(size, size)`."""
    if rng.random() < 0.5:
        return np.zeros((size, size), np.float32)
    return np.clip(digits.magnified(rng.uniform(0, 0.15, (7, 7)), size), 0, 1)


def _put_bar(rng, frames):
    """Hides a strip from side to side, or from top to bottom, of all frames, in place."""
    size = frames.shape[-1]
    first = int(rng.uniform(0.2, 0.75) * size)
    end = first + max(1, int(rng.uniform(0.05, 0.1) * size))
    upright = frames if rng.random() < 0.5 else frames.swapaxes(1, 2)
    upright[:, :, first:end] = rng.uniform(0, 0.6)


def _path(rng, move, height, times):
    """The path of a digit at `times` `(frames,)` in [0, 1]."""
    progress, changes = move(rng, height, times)
    # What has no motion of its own drifts along a line, turns and keeps its height and brightness.
    x, y = _line(rng, np.max(changes.get("height", height)), rng.uniform(0, 0.25), progress)
    path = Path(
        x=x,
        y=y,
        height=np.full(len(times), height),
        angle=rng.uniform(-0.6, 0.6) + rng.uniform(-1.2, 1.2) * progress,
        brightness=np.full(len(times), rng.uniform(0.3, 1)),
    )
    return dataclasses.replace(path, **changes)


def _line(rng, height, length, progress):
    """Points `(2, frames)` along a line in any direction, inside if the digit has room."""
    angle = rng.uniform(0, 2 * np.pi)
    along = length * np.array([[np.cos(angle)], [np.sin(angle)]])
    room = np.maximum(1 - height - np.abs(along), 0)
    return 0.5 + room * rng.uniform(-0.5, 0.5, (2, 1)) + along * (progress - 0.5)


# Each motion gives its progress `(frames,)`, along which the digit drifts and turns, and what of
# the path it sets itself.


def _fall(rng, height, times):
    """From rest down to the floor, where each bounce keeps a share of the speed."""
    room = 1 - height
    drop = room * rng.uniform(0.6, 0.95)
    floor = 1 - height / 2 - rng.uniform(0, room - drop)
    impact = rng.uniform(0.35, 0.5)
    kept = rng.uniform(0.5, 0.7)
    gravity = 2 * drop / impact**2
    # Each flight is a parabola, above the floor between its own two touches only: the height is the
    # greatest of them. The first one would have left the floor before the clip.
    speed = gravity * impact * kept ** np.arange(8)[:, None]
    duration = 2 * speed / gravity
    since = times - (np.cumsum(duration, axis=0) - duration - impact)
    above = (speed * since - gravity * since**2 / 2).max(axis=0)
    return times, {"y": floor - np.maximum(above, 0)}


def _growth(rng, height, times):
    """Grows by the same factor each frame."""
    return times, {"height": height * rng.uniform(1.6, 2) ** (times - 0.5)}


def _decay(rng, height, times):
    """Fades exponentially."""
    return times, {"brightness": rng.uniform(0.65, 1) * rng.uniform(0.35, 0.45) ** times}


def _slide(rng, height, times):
    """Slides and turns, slowed down by friction until it all but stops."""
    progress = 1 - (1 - times / rng.uniform(1, 1.3)) ** 2
    x, y = _line(rng, height, rng.uniform(0.4, 0.6), progress)
    return progress, {"x": x, "y": y}


def _spiral(rng, height, times):
    """Circles inwards, and slower, as damping takes its speed."""
    damping = rng.uniform(1, 1.8)
    progress = 1 - np.exp(-damping * times)
    radius = rng.uniform(0.2, 0.3)
    turns = rng.uniform(0.7, 1.4) * rng.choice([-1, 1]) * times
    angle = 2 * np.pi * (rng.random() + turns)
    room = max(1 - height - 2 * radius, 0)
    x, y = 0.5 + room * rng.uniform(-0.5, 0.5, 2)
    radius *= 1 - progress
    return progress, {"x": x + radius * np.cos(angle), "y": y + radius * np.sin(angle)}


MOTIONS = {"fall": _fall, "growth": _growth, "decay": _decay, "slide": _slide, "spiral": _spiral}
