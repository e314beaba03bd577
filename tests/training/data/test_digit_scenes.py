"""Scenes depend on seed and index alone, hold the digits they are labelled with, and have sides."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

from training.data import digit_scenes, digits


@pytest.fixture(scope="module")
def examples():
    return digit_scenes.load("test", 300)


def layouts(num_examples, seed=0, split="test"):
    num_images = len(digits.handwritten(split)[0])
    for index in range(num_examples):
        yield digit_scenes._layout(digits.generator(seed, split, index), num_images)


def resized(image, pixels):
    """A handwritten digit, in [0, 16], at another size, in [0, 1], without our stencils."""
    picture = Image.fromarray((image / 16).astype(np.float32))
    return np.asarray(picture.resize((pixels, pixels), Image.Resampling.BILINEAR))


def test_scenes_and_labels_have_the_stated_shapes_and_ranges(examples):
    assert examples.kind == "image" and len(examples) == 300
    assert examples.inputs.shape == (300, 64, 64, 1) and examples.inputs.dtype == np.uint8
    assert (np.ptp(examples.inputs, axis=(1, 2, 3)) > 120).all()
    present, count = examples.labels["present"], examples.labels["count"]
    assert present.shape == (300, 10) and present.dtype == bool and present.any(axis=0).all()
    assert set(count) == {2, 3, 4, 5} and (present.sum(axis=1) <= count).all()
    assert set(examples.labels["largest"]) == set(range(10))
    assert present[np.arange(300), examples.labels["largest"]].all()


def test_a_scene_depends_on_split_seed_and_index_alone(examples):
    few = digit_scenes.load("test", 5)
    np.testing.assert_array_equal(few.inputs, examples.inputs[:5])
    for task, labels in few.labels.items():
        np.testing.assert_array_equal(labels, examples.labels[task][:5])
    for other in (digit_scenes.load("test", 5, seed=1), digit_scenes.load("train", 5)):
        assert (other.inputs != few.inputs).any(axis=(1, 2, 3)).all()


def test_labels_are_of_the_digits_that_can_be_seen_where_they_were_put(examples):
    images, targets = load_digits().images, load_digits().target
    indices = digits.handwritten("test")[2]
    others = [np.flatnonzero(targets == digit)[0] for digit in range(10)]
    likeness, recognised = [], []
    for number, layout in enumerate(layouts(len(examples))):
        scene = np.pad(examples.inputs[number, ..., 0].astype(float), 16, mode="edge")
        assert len(layout.images) == examples.labels["count"][number]
        seen = targets[indices[layout.images]]
        np.testing.assert_array_equal(examples.labels["present"][number], np.isin(range(10), seen))
        assert seen[np.argmax(layout.height)] == examples.labels["largest"][number]
        for image, x, y, height in zip(indices[layout.images], layout.x, layout.y, layout.height):
            pixels = round(height * 64)
            row, column = (round(place * 64 - pixels / 2) + 16 for place in (y, x))
            window = scene[row : row + pixels, column : column + pixels].ravel()
            candidates = [image, *(other for other in others if targets[other] != targets[image])]
            alike = [
                np.corrcoef(window, resized(images[candidate], pixels).ravel())[0, 1]
                for candidate in candidates
            ]
            likeness.append(alike[0])
            recognised.append(np.argmax(alike) == 0)
    assert np.median(likeness) > 0.8 and np.mean(recognised) > 0.95


def test_digits_hardly_overlap_and_stand_inside():
    shares = []
    for layout in layouts(300):
        half = np.stack([digit_scenes.ASPECT * layout.height, layout.height], axis=1) / 2
        centres = np.stack([layout.x, layout.y], axis=1)
        low, high = centres - half, centres + half
        assert (low >= 0).all() and (high <= 1).all()
        for one, other in itertools.combinations(range(len(centres)), 2):
            common = np.minimum(high[one], high[other]) - np.maximum(low[one], low[other])
            shares.append(np.prod(np.maximum(common, 0)) / np.prod(2 * half[other]))
    assert np.mean(np.array(shares) > 0) < 0.02 and max(shares) < 0.4


def test_the_lamp_is_at_the_upper_left(examples):
    scenes = examples.inputs[..., 0].astype(float)
    ground = np.percentile(scenes.reshape(-1, 2, 32, 2, 32), 25, axis=(2, 4))  # Below the digits.
    assert (ground[:, 0, 0] > ground[:, 1, 1]).mean() > 0.99
    assert (ground[:, 0].mean(axis=1) > ground[:, 1].mean(axis=1)).mean() > 0.95
    assert (ground[:, :, 0].mean(axis=1) > ground[:, :, 1].mean(axis=1)).mean() > 0.95


@pytest.mark.parametrize("number", [0, 7, 100])
def test_a_digit_is_drawn_as_large_as_asked_where_asked(number):
    stencils, _, indices = digits.handwritten("train")
    picture = np.zeros((64, 64), np.float32)
    digits.draw(picture, stencils[number], x=0.5, y=0.375, height=0.5, angle=0.0, brightness=0.5)
    expected = np.zeros((64, 64))
    with_margin = np.pad(load_digits().images[indices[number]], 1)  # Edges fade into it.
    expected[4:44, 12:52] = 0.5 * resized(with_margin, 40)
    # Bicubic and bilinear interpolation differ in the sharpness of edges alone.
    assert np.corrcoef(picture.ravel(), expected.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(picture.sum(), expected.sum(), rtol=0.05)
    found, meant = (ndimage.center_of_mass(p) for p in (picture, expected))
    np.testing.assert_allclose(found, meant, atol=0.1)


def test_a_quarter_turn_is_clockwise():
    stencil = digits.handwritten("train")[0][0]
    upright, turned = np.zeros((2, 64, 64), np.float32)
    digits.draw(upright, stencil, 0.5, 0.5, 0.5, 0.0, 1.0)
    digits.draw(turned, stencil, 0.5, 0.5, 0.5, np.pi / 2, 1.0)
    np.testing.assert_allclose(turned, np.rot90(upright, -1), atol=1e-4)


@pytest.mark.parametrize("x, y", [(0.5, 0.5), (0.02, 0.4), (0.97, -0.1), (3.0, 0.5)])
def test_what_lies_outside_is_cut_off(x, y):
    stencil = digits.handwritten("train")[0][0]
    picture, wide = np.full((64, 64), 0.2, np.float32), np.full((192, 192), 0.2, np.float32)
    digits.draw(picture, stencil, x, y, 0.4, 0.3, 0.9)
    digits.draw(wide, stencil, (x + 1) / 3, (y + 1) / 3, 0.4 / 3, 0.3, 0.9)
    np.testing.assert_allclose(picture, wide[64:128, 64:128], atol=1e-5)
