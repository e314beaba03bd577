"""Recordings that cannot be learned from are left out or refused, by name."""

import numpy as np
import pytest

from training.config import DataConfig
from training.data import recordings, sets
from training.data.examples import Examples, as_inputs
from training.errors import UserError


def make(audio):
    audio = np.asarray(audio)
    return Examples("audio", audio, {"pitch": np.arange(len(audio))}, sample_rate=16000)


def test_silent_recordings_are_left_out_and_counted_with_their_labels():
    kept = recordings.usable(make(np.int16([[0, 0], [900, 0], [0, 1], [0, -900]])), "set")
    np.testing.assert_array_equal(kept.labels["pitch"], [1, 3])
    assert kept.left_out == {"recording 0": "silent", "recording 2": "silent"}
    assert len(kept) == 2


def test_the_loudest_negative_sample_of_16_bits_is_loud():
    assert recordings.usable(make(np.int16([[-32768, 0]])), "set").left_out == {}


def test_a_level_off_zero_is_silent():
    kept = recordings.usable(make(np.int16([[9000, 9000], [1, 17]])), "set")
    assert kept.left_out == {"recording 0": "silent"}


def test_all_silent_is_refused():
    with pytest.raises(UserError, match="all 3 recordings are silent"):
        recordings.usable(make(np.zeros((3, 8), "int16")), "set")


def test_empty_is_refused():
    with pytest.raises(UserError, match="my set holds no recordings"):
        recordings.usable(make(np.zeros((0, 8), "int16")), "my set")


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown --data=drums\. Known data sets: notes"):
        sets.prepare(DataConfig(data="drums"))


def test_waveforms_are_within_one():
    audio = as_inputs(np.int16([[-32768, 0, 32767]]))
    assert audio.dtype == np.float32
    np.testing.assert_allclose(audio, [[-1, 0, 32767 / 32768]])


def test_pictures_are_between_0_and_1():
    np.testing.assert_allclose(as_inputs(np.uint8([[0, 51, 255]])), [[0, 0.2, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "expected"),
    [("", []), ("a", [0]), ("aab", [0, 0, 1]), ("abba", [0, 1, 1, 2]), ("zzya", [0, 0, 1, 2])],
)
def test_runs_of_equal_names_are_numbered_in_their_order(names, expected):
    found = recordings.runs(list(names))
    assert found.tolist() == expected and np.issubdtype(found.dtype, np.integer)
