"""Views are parts of their example, as large as the whole, in other light or louder."""

import numpy as np
import pytest

from training.data.stream import step_seed
from training.data.views import LEAST_AREA, LEAST_TIME, Views

SHAPES = {"audio": (30, 8, 1), "image": (24, 20, 3), "video": (5, 24, 20, 1)}


def ramp(shape, axis):
    """0 to 1 along an axis: what is left of it tells where it was cut."""
    values = np.linspace(0, 1, shape[axis], dtype="float32")
    return np.broadcast_to(
        values.reshape([-1 if a == axis else 1 for a in range(len(shape))]), shape
    )


@pytest.mark.parametrize("kind", SHAPES)
def test_there_are_two_different_ones_of_each_that_come_again(kind):
    x = np.random.default_rng(0).random((6, *SHAPES[kind])).astype("float32")
    views = Views(kind, 6.0)
    drawn = views.draw(x, step_seed(0, 1)).numpy()
    assert drawn.shape == (6, 2, *SHAPES[kind]) and drawn.dtype == "float32"
    assert np.isfinite(drawn).all() and drawn.min() >= 0
    assert len(np.unique(drawn.reshape(12, -1), axis=0)) == 12
    np.testing.assert_array_equal(drawn, views.draw(x, step_seed(0, 1)))
    assert (drawn != views.draw(x, step_seed(0, 2)).numpy()).any()


def test_of_a_sound_all_frequencies_are_kept_and_half_the_time_or_more():
    in_time = np.tile(ramp(SHAPES["audio"], 0), (200, 1, 1, 1))
    drawn = Views("audio").draw(in_time, step_seed(0, 0)).numpy()[:, 0, :, 0, 0]
    kept = drawn[:, -1] - drawn[:, 0]
    assert kept.min() >= LEAST_TIME - 1e-5 and kept.max() <= 1 + 1e-5
    assert kept.min() < LEAST_TIME + 0.05 and kept.max() > 0.95
    assert (np.diff(drawn, axis=1) > 0).all()  # Not backwards.
    in_frequency = np.tile(ramp(SHAPES["audio"], 1), (3, 1, 1, 1))
    drawn = Views("audio").draw(in_frequency, step_seed(0, 0)).numpy()
    np.testing.assert_allclose(drawn, np.stack([in_frequency] * 2, axis=1), atol=1e-5)


def test_sounds_are_louder_or_softer_by_what_is_asked_for():
    x = np.full((300, *SHAPES["audio"]), 1.0, "float32")
    levels = Views("audio", 6.0).draw(x, step_seed(0, 0)).numpy()[:, :, 0, 0, 0]
    gains = 20 * np.log10(np.expm1(levels) / np.expm1(1))
    assert -6.001 < gains.min() < -5 and 5 < gains.max() < 6.001


def test_of_a_picture_a_random_rectangle_is_kept(monkeypatch):
    monkeypatch.setattr("training.data.views.CONTRAST", 0.0)
    monkeypatch.setattr("training.data.views.BRIGHTNESS", 0.0)
    heights, widths = (
        np.ptp(Views("image").draw(x, step_seed(0, 0)).numpy()[:, 0], axis=(1, 2, 3))
        for x in (np.tile(ramp(SHAPES["image"], axis), (300, 1, 1, 1)) for axis in (0, 1))
    )
    areas = heights * widths
    assert LEAST_AREA * 0.99 < areas.min() < LEAST_AREA + 0.1 and 0.9 < areas.max() < 1.0001
    assert 0.74 < (heights / widths).min() < 0.85 and 1.2 < (heights / widths).max() < 1.34


def test_frames_of_a_clip_are_cut_and_lit_alike():
    frame = np.random.default_rng(0).random((4, 1, 24, 20, 1)).astype("float32")
    clips = np.tile(frame, (1, 5, 1, 1, 1))
    drawn = Views("video").draw(clips, step_seed(0, 0)).numpy()
    np.testing.assert_allclose(drawn, np.tile(drawn[:, :, :1], (1, 1, 5, 1, 1, 1)), atol=1e-6)
    still = Views("image").draw(frame[:, 0], step_seed(0, 0)).numpy()
    np.testing.assert_allclose(drawn[:, :, 0], still, atol=1e-5)
