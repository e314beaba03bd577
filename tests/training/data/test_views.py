"""Views are parts of their example, as large as the whole, in other light or louder."""

import numpy as np
import pytest

from training.data.stream import step_seed
from training.data.views import LEAST_AREA, LEAST_FREQUENCY, LEAST_TIME, Views

SHAPES = {"audio": (30, 8, 1), "image": (24, 20, 3), "video": (5, 24, 20, 1)}


def ramp(shape, axis):
    """0 to 1 along an axis: what is left of it tells where it was cut."""
    values = np.linspace(0, 1, shape[axis], dtype="float32")
    return np.broadcast_to(
        values.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    )


def drawn(views, x, seed):
    return views.of(x, views.draws(len(x), seed)).numpy()


@pytest.mark.parametrize("kind", SHAPES)
def test_there_are_two_different_ones_of_each_that_come_again(kind):
    x = np.random.default_rng(0).random((6, *SHAPES[kind])).astype("float32")
    views = Views(kind, 6.0)
    given = drawn(views, x, step_seed(0, 1))
    assert given.shape == (6, 2, *SHAPES[kind]) and given.dtype == "float32"
    assert np.isfinite(given).all() and given.min() >= 0
    assert len(np.unique(given.reshape(12, -1), axis=0)) == 12
    np.testing.assert_array_equal(given, drawn(views, x, step_seed(0, 1)))
    assert (given != drawn(views, x, step_seed(0, 2))).any()


@pytest.mark.parametrize(("axis", "least"), [(0, LEAST_TIME), (1, LEAST_FREQUENCY)])
def test_of_a_sound_a_part_of_time_and_of_frequency_is_kept(axis, least):
    x = np.tile(ramp(SHAPES["audio"], axis), (400, 1, 1, 1))
    lines = drawn(Views("audio"), x, step_seed(0, 0))[:, 0, :, :, 0]
    lines = lines[:, :, 0] if axis == 0 else lines[:, 0]
    kept = lines[:, -1] - lines[:, 0]
    assert kept.min() >= least - 1e-5 and kept.max() <= 1 + 1e-5
    assert kept.min() < least + 0.05 and kept.max() > 0.95
    assert (np.diff(lines, axis=1) > 0).all()  # Not backwards.
    assert lines[:, 0].max() > 0.9 * (1 - least) > 0.1 * (1 - least) > lines[:, 0].min()


def test_sounds_are_louder_or_softer_by_what_is_asked_for():
    x = np.full((300, *SHAPES["audio"]), 1.0, "float32")
    levels = drawn(Views("audio", 6.0), x, step_seed(0, 0)).max(axis=(2, 3, 4))
    gains = 20 * np.log10(np.expm1(levels) / np.expm1(1))
    assert -6.001 < gains.min() < -5 and 5 < gains.max() < 6.001


def test_of_a_picture_a_random_rectangle_is_kept(monkeypatch):
    monkeypatch.setattr("training.data.views.CONTRAST", 0.0)
    monkeypatch.setattr("training.data.views.BRIGHTNESS", 0.0)
    heights, widths = (
        np.ptp(drawn(Views("image"), x, step_seed(0, 0))[:, 0], axis=(1, 2, 3))
        for x in (np.tile(ramp(SHAPES["image"], axis), (300, 1, 1, 1)) for axis in (0, 1))
    )
    areas = heights * widths
    assert LEAST_AREA * 0.99 < areas.min() < LEAST_AREA + 0.1 and 0.9 < areas.max() < 1.0001
    assert 0.74 < (heights / widths).min() < 0.85 and 1.2 < (heights / widths).max() < 1.34


def test_frames_of_a_clip_are_cut_and_lit_alike():
    frame = np.random.default_rng(0).random((4, 1, 24, 20, 1)).astype("float32")
    clips = np.tile(frame, (1, 5, 1, 1, 1))
    given = drawn(Views("video"), clips, step_seed(0, 0))
    np.testing.assert_allclose(given, np.tile(given[:, :, :1], (1, 1, 5, 1, 1, 1)), atol=1e-6)
    still = drawn(Views("image"), frame[:, 0], step_seed(0, 0))
    np.testing.assert_allclose(given[:, :, 0], still, atol=1e-5)
