"""Clips are a function of seed and index, show what their labels say, and have an arrow of time."""

import numpy as np
import pytest
from scipy import signal
from scipy.sparse import csgraph
from sklearn.datasets import load_digits

from training.data import digits, moving_digits
from training.data.moving_digits import MOTIONS

NEARLY_SAME = 8  # Grey levels of 255. An edge that moves by a tenth of a pixel changes by as much.


@pytest.fixture(scope="module")
def examples():
    return moving_digits.load("test", 400)


def centroid_row(frames):
    """Mean row of what is brighter than it is at its darkest time: `(clips, frames)`."""
    moving = frames - frames.min(axis=1, keepdims=True)
    return (moving.sum(axis=3) * np.arange(frames.shape[2])).sum(axis=2) / moving.sum(axis=(2, 3))


def slowing(frames):
    """How much more changes from frame to frame in the first half than in the second."""
    change = np.abs(np.diff(frames, axis=1)).sum(axis=(2, 3))
    half = change.shape[1] // 2
    return change[:, :half].sum(axis=1) - change[:, -half:].sum(axis=1)


def brightening(frames):
    light = frames.sum(axis=(2, 3))
    return light[:, -1] - light[:, 0]


# What is positive for each motion forwards, and changes its sign backwards.
ARROWS = {
    "fall": lambda frames: np.subtract(*centroid_row(frames)[:, [-1, 0]].T),
    "growth": brightening,
    "decay": lambda frames: -brightening(frames),
    "slide": slowing,
    "spiral": slowing,
}


def test_clips_and_labels_have_the_stated_shapes_and_ranges(examples):
    assert examples.kind == "video" and len(examples) == 400
    assert examples.inputs.shape == (400, 16, 64, 64, 1) and examples.inputs.dtype == np.uint8
    assert (examples.inputs.max(axis=(1, 2, 3, 4)) >= 70).all()  # Something is to be seen in each.
    assert (np.median(examples.inputs[..., 0], axis=(1, 2, 3)) <= 0.15 * 255).all()
    assert set(examples.labels["motion"]) == set(range(len(MOTIONS)))
    assert set(examples.labels["digit"]) == set(range(10))
    assert examples.classes["motion"] == ("fall", "growth", "decay", "slide", "spiral")


def test_a_clip_depends_on_split_seed_and_index_alone(examples):
    few = moving_digits.load("test", 5)
    np.testing.assert_array_equal(few.inputs, examples.inputs[:5])
    for task, labels in few.labels.items():
        np.testing.assert_array_equal(labels, examples.labels[task][:5])
    for other in (moving_digits.load("test", 5, seed=1), moving_digits.load("train", 5)):
        assert (other.inputs != few.inputs).any(axis=(1, 2, 3, 4)).all()


def test_other_sizes_and_lengths_show_the_same_motion(examples):
    long = moving_digits.load("test", 20, num_frames=31).inputs  # Every other frame is at its time.
    np.testing.assert_array_equal(long[:, ::2], examples.inputs[:20])
    large = moving_digits.load("test", 20, size=128).inputs[..., 0].astype(float)
    halved = large.reshape(20, 16, 64, 2, 64, 2).mean(axis=(3, 5))
    assert np.abs(halved - examples.inputs[:20, ..., 0]).mean() < 2


def test_no_handwritten_image_is_in_both_splits():
    images, targets = load_digits(return_X_y=True)
    indices = {}
    for split in ("train", "test"):
        stencils, written, indices[split] = digits.handwritten(split)
        np.testing.assert_array_equal(written, targets[indices[split]])
        assert len(stencils) == len(written) and set(written) == set(range(10))
    assert sorted([*indices["train"], *indices["test"]]) == list(range(len(images)))
    content = {split: {images[index].tobytes() for index in indices[split]} for split in indices}
    assert not content["train"] & content["test"]


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"`split` must be .* Received: split='valid'"):
        moving_digits.load("valid", 1)


def test_the_digit_is_what_is_written_on_the_larger_stencil(monkeypatch):
    drawn, clips = [], []
    draw, to_bytes = digits.draw, digits.to_bytes

    def record(frame, stencil, x, y, height, angle, brightness):
        drawn.append((height, stencil.tobytes()))
        draw(frame, stencil, x, y, height, angle, brightness)

    def finish(frames):
        clips.append(max(drawn)[1])
        drawn.clear()
        return to_bytes(frames)

    monkeypatch.setattr(digits, "draw", record)
    monkeypatch.setattr(digits, "to_bytes", finish)
    examples = moving_digits.load("train", 100, num_frames=2)
    stencils, _, indices = digits.handwritten("train")
    index = {stencil.tobytes(): i for stencil, i in zip(stencils, indices)}
    targets = load_digits().target
    assert [targets[index[clip]] for clip in clips] == examples.labels["digit"].tolist()


@pytest.mark.parametrize("motion", MOTIONS)
def test_time_has_an_arrow(examples, motion):
    chosen = examples.labels["motion"] == list(MOTIONS).index(motion)
    frames = examples.inputs[chosen, ..., 0].astype(float)
    assert len(frames) > 40
    assert (ARROWS[motion](frames) > 0).mean() > 0.95
    assert (ARROWS[motion](frames[:, ::-1]) < 0).mean() > 0.95


@pytest.mark.parametrize("seed", range(20))
def test_falls_obey_gravity_and_bounce_lower_each_time(seed):
    height = 0.3
    _, path = moving_digits._fall(np.random.default_rng(seed), height, np.linspace(0, 1, 5001))
    y = path["y"]
    assert height / 2 <= y.min() and y.max() <= 1 - height / 2 + 1e-9
    acceleration = np.diff(y, 2)
    assert np.isclose(acceleration, np.median(acceleration), rtol=1e-3).mean() > 0.99
    assert np.median(acceleration) > 0
    highest = np.array([y[0], *y[signal.argrelmin(y)]])  # y counts downwards.
    assert len(highest) >= 2 and (np.diff(highest) > 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_spirals_turn_one_way_slower_and_tighter(seed):
    _, path = moving_digits._spiral(np.random.default_rng(seed), 0.3, np.linspace(0, 1, 1001))
    velocity = np.gradient(path["x"] + 1j * path["y"])[1:-1]
    turn = np.angle(velocity[1:] / velocity[:-1])
    assert (turn > 0).all() or (turn < 0).all()
    speed = np.abs(velocity)
    assert (np.diff(speed) < 0).all()
    curve_radius = speed[1:] / np.abs(turn)
    assert curve_radius[-1] < 0.4 * curve_radius[0]


def num_distinct(pieces):
    """How many of the `(num_patches, pixels)` pieces look different, alone or by way of a third."""
    difference = np.abs(pieces[:, None] - pieces[None]).max(axis=2)
    return csgraph.connected_components(difference <= NEARLY_SAME, directed=False)[0]


def test_nearly_all_pieces_can_be_put_in_their_place(examples):
    # Of pieces that look the same, however many, chance puts one in its place.
    pieces = examples.inputs.reshape(400, 8, -1).astype(np.int16)
    in_place = np.array([num_distinct(clip) for clip in pieces]) / 8
    assert in_place.mean() > 0.99 and in_place.min() > 0.8


def test_pieces_that_look_the_same_are_told():
    pieces = np.random.default_rng(0).integers(0, 256, (6, 30)).astype(np.int16)
    assert num_distinct(pieces) == 6
    pieces[1], pieces[2] = pieces[0] + NEARLY_SAME, pieces[0] - NEARLY_SAME
    assert num_distinct(pieces) == 4
